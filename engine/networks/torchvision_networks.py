"""Networks pretrained on ImageNet, by torchvision's names: backbones without a classifier."""

from __future__ import annotations

import difflib
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config import WEIGHTS
from engine.errors import SettingError, out_of_memory
from engine.networks.origins import Origin, unknown
from engine.networks.weights import UNREADABLE, Pretrained, State, misfit, not_finite, read_weights, shape_of

CLASSES = 1000
SEVERAL_CLASSIFIERS = ("googlenet", "inception_v3")


def torchvision_pretrained(name: str) -> Pretrained:
    """The weights that "torchvision:NAME" names, on the CPU; downloaded if they are not there.

    Raises:
        SettingError: when torchvision knows no such network or weights, or they cannot be downloaded.
    """
    return _downloaded(*_named(name))


def torchvision_untrained(name: str) -> Pretrained:
    """The network that "torchvision:NAME" names with weights drawn at random, for measurements; raises SettingError."""
    model, weights = _named(name)
    network, _, _ = _headless(model, _side(weights))
    return _described(model, _side(weights), weights, network.state_dict(), name, unknown(model))


def torchvision_from_file(model: str, path: Path) -> Pretrained:
    """The weights of torchvision's `model` in a file; raises SettingError when it does not hold them."""
    return _from_file(_known(model), path)


def check_torchvision(name: str) -> None:
    """Raises the SettingError of a wrong name, and downloads nothing."""
    _headless(_named(name)[0], None)


def backbone(model: str, side: int) -> tuple[nn.Module, int]:
    """torchvision's network `model` for images of `side` pixels without its classifier: (M, 3, side,
    side) → (M, D), and D. Its weights are drawn at random.

    Raises:
        SettingError: for an unknown name, or a network whose classifier cannot be taken off.
    """
    network, features, _ = _headless(_known(model), side)
    return network, features


def _headless(model: str, side: int | None) -> tuple[nn.Module, int, str]:
    """The network, its number of features, and the name of the layer that was its classifier."""
    from torchvision import models
    from torchvision.ops import StochasticDepth

    unfit = SettingError(
        f"{model} has no classifier that can be removed as one layer: choose another network, such as resnet50"
    )
    if model in SEVERAL_CLASSIFIERS:
        raise unfit
    # Only a vision transformer needs the side: it has a weight for each position.
    sized = {"image_size": side} if side is not None and model.startswith("vit_") else {}
    network = models.get_model(model, weights=None, **sized)
    linear = [
        (name, layer)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear) and layer.out_features == CLASSES
    ]
    if not linear:
        raise unfit
    name, classifier = linear[-1]
    place, _, last = name.rpartition(".")
    setattr(network.get_submodule(place), last, nn.Identity())
    for layer in network.modules():
        # Both draw from torch's process-wide generator: a run could not be repeated.
        if isinstance(layer, (nn.Dropout, StochasticDepth)):
            layer.p = 0.0
    return network, classifier.in_features, name


# -- torchvision's own weights -----------------------------------------------------------------


def _known(model: str) -> str:
    """The name, if it is that of a classifier of torchvision; raises SettingError."""
    from torchvision import models

    names = models.list_models(module=models)
    if model in names:
        return model
    like = difflib.get_close_matches(model, names, 3, 0.4) or ["resnet50", "vit_b_16"]
    raise SettingError(f"torchvision has no image classifier {model!r}: choose another, such as {', '.join(like)}")


def _named(name: str) -> tuple[str, Any]:
    """The network and the weights of a name such as "resnet50" or "ResNet50_Weights.DEFAULT"."""
    from torchvision import models

    if "." not in name:
        model = _known(name)
        return model, models.get_model_weights(model).DEFAULT
    try:
        weights = models.get_weight(name)
    except (ValueError, AttributeError, KeyError):
        raise SettingError(
            f"torchvision has no weights {name!r}: write them as ResNet50_Weights.IMAGENET1K_V2, or "
            "give only the network's name"
        ) from None
    for model in models.list_models(module=models):
        if isinstance(weights, models.get_model_weights(model)):
            return model, weights
    raise SettingError(f"{name} are not the weights of an image classifier: choose others")


def _downloaded(model: str, weights: Any) -> Pretrained:
    network, _, classifier = _headless(model, _side(weights))
    try:
        found = weights.get_state_dict(progress=False, check_hash=True, weights_only=True, map_location="cpu")
    except UNREADABLE as error:
        if out_of_memory(error):
            raise
        raise SettingError(
            f"{weights} could not be downloaded from {weights.url} ({error}): download that file "
            f"elsewhere, and use it with features.source={WEIGHTS}{model}:FILE"
        ) from None
    state = _fitted(found, network, classifier, str(weights), model)
    # All of torchvision's classifiers learned ImageNet's labels; it does not say under which licence.
    origin = Origin(str(weights), model, "ImageNet-1k", "with", "unknown", weights.url)
    return _described(model, _side(weights), weights, state, str(weights), origin)


def _side(weights: Any) -> int:
    return int(weights.transforms().crop_size[0])


def _described(model: str, side: int, weights: Any, state: State, began: str, origin: Origin) -> Pretrained:
    looks = weights.transforms()
    made = {"began": began, "origin": asdict(origin)}
    return Pretrained(model, side, torch.tensor(looks.mean), torch.tensor(looks.std), state, made)


# -- a file of weights -------------------------------------------------------------------------


def _from_file(model: str, path: Path) -> Pretrained:
    from torchvision import models

    weights, state = models.get_model_weights(model).DEFAULT, read_weights(path)
    side = _transformer_side(state) or _side(weights)
    network, _, classifier = _headless(model, side)
    fitted = _fitted(state, network, classifier, str(path), model)
    return _described(model, side, weights, fitted, path.name, unknown(model))


def _transformer_side(state: State) -> int | None:
    """The image side of a vision transformer, derived from its position weights."""
    places, patch = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if places is None or patch is None or places.ndim != 3:
        return None
    return math.isqrt(places.shape[1] - 1) * patch.shape[-1]


def _fitted(state: State, network: nn.Module, classifier: str, origin: str, model: str) -> State:
    """The weights of `network` in `state`, as float32, whose classifier does not matter.

    Raises:
        SettingError: when some are missing, left over, of another shape, or not finite.
    """
    own = network.state_dict()
    found = {k: v for k, v in state.items() if not k.startswith(f"{classifier}.")}
    # Older files have no batch counts, and the counts are not needed.
    missing = [name for name in own if name not in found and not name.endswith("num_batches_tracked")]
    over = [name for name in found if name not in own]
    other = [
        f"{name} is {shape_of(found[name].shape)} instead of {shape_of(value.shape)}"
        for name, value in own.items()
        if name in found and found[name].shape != value.shape
    ]
    wrong = misfit(origin, model, missing=missing, over=over, other=other, wild=not_finite(found))
    if wrong is not None:
        raise wrong
    return {name: found[name].to(value.dtype) if name in found else value for name, value in own.items()}
