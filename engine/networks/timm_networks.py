"""Networks of timm, by its own names: backbones without a classifier, and what they expect of an image."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.errors import SettingError, first_sentence, out_of_memory
from engine.networks.hub import Downloads, check_download, hub_file, kept_file
from engine.networks.origins import Origin, origin_of, unknown
from engine.networks.weights import (
    UNREADABLE,
    MissingLibraryError,
    Pretrained,
    State,
    misfit,
    not_finite,
    read_weights,
    shape_of,
)

HUB = "hf-hub:"
# Larger images cost more than they bring when whole images are told apart: DINOv2's own side of 518 pixels is
# five times the arithmetic of 224.
MOST_SIDE = 224
CONFIG, WEIGHT_FILES = "config.json", ("model.safetensors", "pytorch_model.bin")
# timm's other names for what torch can do.
INTERPOLATIONS = {"bilinear": "bilinear", "box": "bilinear", "hamming": "bilinear"}


@dataclass(frozen=True)
class _Network:
    """How timm builds a network.

    Attributes:
        name: what it is called, with timm's tag or as a repository of the Hub.
        architecture: timm's name of it, without a tag.
        arguments: further ones of `timm.create_model`.
        config: timm's pretrained configuration as a dict: what is known of the weights, and of their images.
        repository: on the Hub; "" if it has none.
    """

    name: str
    architecture: str
    arguments: dict[str, Any]
    config: dict[str, Any]
    repository: str

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of images in the order in which they are tried: the weights may allow only their own."""
        own = min(self.config["input_size"][1:])
        return (own,) if own <= MOST_SIDE else (MOST_SIDE, own)


def timm_pretrained(name: str, downloads: Downloads) -> Pretrained:
    """The weights of timm's "vit_small_patch14_dinov2.lvd142m" or of "hf-hub:ORG/NAME", on the CPU.

    Raises:
        SettingError: when there is no such network, it has no weights, or they cannot be downloaded.
    """
    network = _named(name, downloads)
    if not network.repository:
        address = network.config.get("url")
        where = f"only at {address}: download that file, and use it" if address else "nowhere: use a file of them"
        raise SettingError(
            f"the weights of {name} are kept {where} with features.source=weights:timm/{network.name}:FILE"
        )
    state = read_weights(hub_file(network.repository, WEIGHT_FILES, downloads))
    return _fitted(network, state, name, origin_of(network.name, network.config), f"timm:{name}")


def timm_from_file(name: str, path: Path) -> Pretrained:
    """The weights of timm's network `name` in a file; raises SettingError when it does not hold them.

    The file is believed to be what `name` says if that has a tag; without one nothing is known of it.
    """
    network = replace(_registered(name), name=name)
    origin = origin_of(name, network.config) if "." in name else unknown(name)
    return _fitted(network, read_weights(path), str(path), origin, path.name)


def timm_untrained(name: str) -> Pretrained:
    """timm's network `name` with weights drawn at random, for measurements: nothing is downloaded.

    Raises:
        SettingError: for an unknown name, and for a network of the Hub, which only a download tells of.
    """
    network = _registered(name)
    side = network.sides[0]
    arguments = {**network.arguments, **({"img_size": side} if network.config.get("fixed_input_size") else {})}
    state = timm_network(network.architecture, arguments).state_dict()
    return _at_side(network, state, side, name, {})


def check_timm(name: str) -> None:
    """Raises the SettingError of a wrong name, and downloads nothing."""
    if not name.startswith(HUB):
        _registered(name)
    elif kept_file(name.removeprefix(HUB), (CONFIG,)) is not None:
        _of_hub(name.removeprefix(HUB), Downloads())
    else:
        _timm()


def kept_timm(name: str) -> bool:
    """Whether the weights of `timm_pretrained` are in the Hub's own cache; raises SettingError for a wrong name."""
    repository = _repository(name)
    return bool(repository) and kept_file(repository, WEIGHT_FILES) is not None


def check_timm_download(name: str) -> None:
    """Raises the SettingError of a download that would fail, as far as the Hub says it beforehand."""
    if repository := _repository(name):
        check_download(repository, WEIGHT_FILES)


def _repository(name: str) -> str:
    return name.removeprefix(HUB) if name.startswith(HUB) else _registered(name).repository


def timm_network(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    """The network of an encoder's card, with weights drawn at random: (M, C, side, side) → (M, D)."""
    timm = _timm()
    _check_architecture(architecture)
    network: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    return _steady(network)


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        raise MissingLibraryError(
            "this network needs timm, which is not installed: install it with `pip install timm`, or choose "
            "torchvision:NAME"
        ) from None
    return timm


# -- names -------------------------------------------------------------------------------------


def _named(name: str, downloads: Downloads) -> _Network:
    return _of_hub(name.removeprefix(HUB), downloads) if name.startswith(HUB) else _registered(name)


def _registered(name: str) -> _Network:
    """A network by timm's own name; raises SettingError."""
    timm = _timm()
    if "/" in name or ":" in name:
        raise SettingError(f"timm has no network {name!r}: write timm:{HUB}ORG/NAME for one of the Hugging Face Hub")
    architecture, _, tag = name.partition(".")
    _check_architecture(architecture)
    tags = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in tags:
        known = ", ".join(difflib.get_close_matches(name, tags, 3, 0)) or "none"
        raise SettingError(f"timm knows no weights {tag!r} of {architecture}: choose from {known}")
    found = timm.get_pretrained_cfg(name)
    config = {} if found is None else found.to_dict()
    full = f"{architecture}.{config['tag']}" if config.get("tag") else architecture
    config.setdefault("input_size", (3, MOST_SIDE, MOST_SIDE))
    return _Network(full, architecture, {}, config, config.get("hf_hub_id") or "")


def _check_architecture(architecture: str) -> None:
    timm = _timm()
    if timm.is_model(architecture):
        return
    known = [*timm.list_models(pretrained=True), *timm.list_models()]
    like = difflib.get_close_matches(architecture, known, 3, 0.5) or ["vit_small_patch14_dinov2", "convnext_tiny"]
    raise SettingError(f"timm has no network {architecture!r}: choose another, such as {', '.join(like)}")


def _of_hub(repository: str, downloads: Downloads) -> _Network:
    """A network of the Hub, as its config.json tells it; raises SettingError."""
    _timm()
    try:
        content = json.loads(hub_file(repository, (CONFIG,), downloads).read_text("utf-8"))
        architecture = content.get("architecture")
        # Older files hold the configuration itself.
        config = dict(content.get("pretrained_cfg") or content)
    except (ValueError, AttributeError, TypeError) as error:
        raise SettingError(f"{CONFIG} of {repository} is damaged ({first_sentence(error)}): choose another") from None
    if not isinstance(architecture, str):
        other = ", ".join(map(str, content.get("architectures") or ())) or "something else"
        raise SettingError(
            f"{repository} is no image network in timm's form (its {CONFIG} tells of {other}): choose one of timm's, "
            "such as timm:vit_small_patch14_dinov2.lvd142m"
        )
    _check_architecture(architecture)
    arguments = dict(content.get("model_args") or {})
    if side := arguments.pop("img_size", None):
        sides = (side, side) if isinstance(side, int) else tuple(side)
        config["input_size"] = (config.get("input_size", (3,))[0], *sides)
    if arguments.get("dynamic_img_size"):
        config["fixed_input_size"] = False
    config = _understood(config)
    config.setdefault("input_size", (3, MOST_SIDE, MOST_SIDE))
    # timm's own repositories are called as its networks are.
    own, _, name = repository.partition("@")[0].partition("/")
    known = own == "timm" and _timm().is_model_pretrained(name)
    return _Network(name if known else repository, architecture, arguments, config, repository)


def _understood(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that this version of timm has, without those that say where the weights are."""
    from timm.models import PretrainedCfg

    known = set(PretrainedCfg.__dataclass_fields__) - {"url", "file", "state_dict", "source", "hf_hub_filename"}
    return {name: value for name, value in config.items() if name in known}


# -- building ----------------------------------------------------------------------------------


def _fitted(network: _Network, state: State, origin: str, came: Origin, began: str) -> Pretrained:
    """`network` with the weights `state` for images of 224 pixels, or of their own side if they allow no other.

    Raises:
        SettingError: when the weights are not those of the network.
    """
    for side in network.sides:
        try:
            return _at_side(network, dict(state), side, origin, {"began": began, "origin": asdict(came)})
        except SettingError as error:
            wrong = error
    raise wrong


def _at_side(network: _Network, state: State, side: int, origin: str, made: dict[str, Any]) -> Pretrained:
    from timm.data import resolve_model_data_config

    arguments = dict(network.arguments)
    if network.config.get("fixed_input_size"):
        arguments["img_size"] = side
    built = _steady(_loaded(network, arguments, state, origin)).eval()
    looks = resolve_model_data_config(built)
    try:
        with torch.inference_mode():
            features = built(torch.zeros(1, len(looks["mean"]), side, side))
    except UNREADABLE as error:
        if out_of_memory(error):
            raise
        raise SettingError(f"{network.name} takes no images of {side} pixels ({first_sentence(error)})") from None
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise SettingError(f"{network.name} does not give one vector for an image: choose another network")
    return Pretrained(
        network.architecture,
        side,
        torch.tensor(looks["mean"]),
        torch.tensor(looks["std"]),
        {name: value.detach() for name, value in built.state_dict().items()},
        made,
        "timm",
        arguments,
        features.shape[1],
        INTERPOLATIONS.get(looks["interpolation"], "bicubic"),
    )


def _loaded(network: _Network, arguments: dict[str, Any], state: State, origin: str) -> Any:
    """The network with the weights, which timm brings into its own form: it scales positions to the side."""
    timm = _timm()
    classifiers = network.config.get("classifier") or ()
    classifiers = (classifiers,) if isinstance(classifiers, str) else tuple(classifiers)
    # Some classifiers have layers of their own, which timm leaves out as well: "head.fc.fc1" before "head.fc.fc2".
    around = tuple(name.rpartition(".")[0] + "." for name in classifiers if "." in name)
    state = {k: v for k, v in state.items() if not k.startswith(tuple(f"{name}." for name in classifiers))}
    # With as many classes in the weights as in the network, timm checks every name and shape.
    elsewhere = ("url", "file", "hf_hub_id", "hf_hub_filename", "source", "custom_load")
    known = {name: value for name, value in network.config.items() if name not in elsewhere}
    config = {**known, "num_classes": 0, "label_offset": None, "state_dict": state}
    while True:
        try:
            built: Any = timm.create_model(
                network.architecture, pretrained=True, pretrained_cfg=config, num_classes=0, **arguments
            )
            break
        except (*UNREADABLE, AssertionError) as error:
            if out_of_memory(error):
                raise
            needless = [name for name in _named_in(error, "Unexpected") if name.startswith(around or ("\0",))]
            if not needless or not set(needless) & state.keys():
                raise _unfit(error, origin, network.name) from None
            state = {k: v for k, v in state.items() if k not in needless}
            config["state_dict"] = state
    # timm's own memory of where the weights came from would hold on to them.
    built.pretrained_cfg.pop("state_dict", None)
    wild = misfit(origin, network.name, missing=[], over=[], other=[], wild=not_finite(built.state_dict()))
    if wild is not None:
        raise wild
    return built


def _unfit(error: Exception, origin: str, model: str) -> SettingError:
    other = [
        f"{name} is {shape_of(_numbers(found))} instead of {shape_of(_numbers(own))}"
        for name, found, own in re.findall(
            r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\).*?torch\.Size\(\[(.*?)\]\)", str(error)
        )
    ]
    missing, over = _named_in(error, "Missing"), _named_in(error, "Unexpected")
    found = misfit(origin, model, missing=missing, over=over, other=other, wild=[])
    return found or SettingError(
        f"{origin} does not fit {model} ({type(error).__name__}: {first_sentence(error)}): name the network it was "
        "made for, or use another file"
    )


def _named_in(error: Exception, kind: str) -> list[str]:
    """The names in torch's sentence on "Missing" or "Unexpected" weights."""
    found = re.search(rf"{kind} key\(s\) in state_dict: (.*?)\. *(?:\n|$)", str(error))
    return re.findall(r'"([^"]+)"', found[1]) if found else []


def _numbers(text: str) -> list[int]:
    return [int(one) for one in text.split(",") if one.strip()]


def _steady(network: Any) -> Any:
    """Without what draws from torch's process-wide generator: a run could not be repeated."""
    from timm.layers import DropPath

    for layer in network.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, DropPath):
            layer.drop_prob = 0.0
    return network
