"""Networks pretrained on ImageNet, by torchvision's names: backbones without a classifier."""

from __future__ import annotations

import difflib
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config import TORCHVISION, WEIGHTS
from engine.errors import SettingError, first_sentence, out_of_memory

CLASSES = 1000
SEVERAL_CLASSIFIERS = ("googlenet", "inception_v3")
# Keys under which training scripts may have stored the weights.
NESTS, WRAPPER = ("state_dict", "model"), "module."
# The errors that torch and safetensors raise for invalid files, depending on their bytes.
UNREADABLE = (
    pickle.UnpicklingError,
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
)
MOST_NAMED = 3

State = dict[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained backbone and the input it expects.

    Attributes:
        model: torchvision's name of the network.
        side: of its images, pixels.
        mean, deviation: (3,) float32, of pixels in 0–1.
        state: the weights of `backbone(model, side)`.
        made: the origin of the weights for an encoder's card, plain values.
    """

    model: str
    side: int
    mean: torch.Tensor
    deviation: torch.Tensor
    state: State
    made: dict[str, Any]


def pretrained(source: str) -> Pretrained:
    """The weights that "torchvision:NAME" or "weights:MODEL:FILE" names, on the CPU.

    Raises:
        SettingError: when torchvision knows no such network or weights, they cannot be downloaded,
            or the file does not hold them.
    """
    if source.startswith(TORCHVISION):
        return _downloaded(*_named(source.removeprefix(TORCHVISION)))
    model, _, file = source.removeprefix(WEIGHTS).partition(":")
    if not model or not file:
        raise SettingError(
            f"features.source is {source!r}: write weights:MODEL:FILE, such as weights:resnet50:weights.safetensors"
        )
    return _from_file(_known(model), Path(file).expanduser())


def check_pretrained(source: str) -> None:
    """Raises the SettingError of `pretrained`, but downloads nothing: only the name is looked at."""
    if source.startswith(TORCHVISION):
        _headless(_named(source.removeprefix(TORCHVISION))[0], None)
    else:
        pretrained(source)


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
        raise SettingError(
            f"{weights} could not be downloaded from {weights.url} ({error}): download that file "
            f"elsewhere, and use it with features.source={WEIGHTS}{model}:FILE"
        ) from None
    state = _fitted(found, network, classifier, str(weights), model)
    return _described(model, _side(weights), weights, state, str(weights))


def _side(weights: Any) -> int:
    return int(weights.transforms().crop_size[0])


def _described(model: str, side: int, weights: Any, state: State, origin: str) -> Pretrained:
    looks = weights.transforms()
    return Pretrained(model, side, torch.tensor(looks.mean), torch.tensor(looks.std), state, {"began": origin})


# -- a file of weights -------------------------------------------------------------------------


def _from_file(model: str, path: Path) -> Pretrained:
    from torchvision import models

    weights, state = models.get_model_weights(model).DEFAULT, _read(path)
    side = _transformer_side(state) or _side(weights)
    network, _, classifier = _headless(model, side)
    fitted = _fitted(state, network, classifier, str(path), model)
    return _described(model, side, weights, fitted, path.name)


def _read(path: Path) -> State:
    """The tensors by name in a .safetensors file or one of torch's; raises SettingError."""
    if not path.is_file():
        raise SettingError(f"there is no file {path}: check the path of the weights")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                found: Any = load_file(path)
            except SafetensorError as error:
                raise ValueError(str(error)) from None
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        if out_of_memory(error):
            raise
        raise SettingError(
            f"{path} contains no readable weights ({first_sentence(error)}): save the network's "
            "state_dict() with torch.save or as safetensors"
        ) from None
    for nest in NESTS:
        if isinstance(found, dict) and isinstance(found.get(nest), dict):
            found = found[nest]
    if not isinstance(found, dict) or not found:
        raise SettingError(f"{path} contains no named weights: save the network's state_dict()")
    tensors = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
    wrapped = all(name.startswith(WRAPPER) for name in tensors)
    return {name[len(WRAPPER) :] if wrapped else name: v for name, v in tensors.items()}


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
        f"{name} is {_shape(found[name])} instead of {_shape(value)}"
        for name, value in own.items()
        if name in found and found[name].shape != value.shape
    ]
    wild = [k for k, v in found.items() if v.is_floating_point() and not v.isfinite().all()]
    faults = (("it lacks", missing), ("it has unknown", over), ("", other), ("not finite:", wild))
    wrong = [f"{what} {_listed(names)}".strip() for what, names in faults if names]
    if wrong:
        raise SettingError(
            f"{origin} does not fit {model}: {'; '.join(wrong)}; name the network it was made for, or use another file"
        )
    return {name: found[name].to(value.dtype) if name in found else value for name, value in own.items()}


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
