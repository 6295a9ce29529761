"""Trained networks by what `features.source` names, and networks from the card of an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from engine.config import TIMM, TORCHVISION, WEIGHTS
from engine.errors import SettingError
from engine.networks.hub import Downloads
from engine.networks.timm_networks import (
    check_timm,
    check_timm_download,
    kept_timm,
    timm_from_file,
    timm_network,
    timm_pretrained,
    timm_untrained,
)
from engine.networks.torchvision_networks import (
    backbone,
    check_torchvision,
    torchvision_from_file,
    torchvision_pretrained,
    torchvision_untrained,
)
from engine.networks.weights import Pretrained

# The fields of a card that hold the name of a network that is not of our own making.
TORCHVISION_NAME, TIMM_NAME = "torchvision", "timm"
# In "weights:timm/NAME:FILE".
OF_TIMM = "timm/"


def pretrained(source: str, downloads: Downloads | None = None) -> Pretrained:
    """The weights that "timm:…", "torchvision:…" or "weights:…" names, on the CPU.

    Raises:
        SettingError: when there is no such network or there are no such weights, they cannot be downloaded,
            or the file does not hold them.
    """
    if source.startswith(TIMM):
        return timm_pretrained(source.removeprefix(TIMM), downloads or Downloads())
    if source.startswith(TORCHVISION):
        return torchvision_pretrained(source.removeprefix(TORCHVISION))
    model, _, file = source.removeprefix(WEIGHTS).partition(":")
    if not model or not file:
        raise SettingError(
            f"features.source is {source!r}: write weights:MODEL:FILE, such as weights:resnet50:weights.safetensors "
            "or weights:timm/vit_small_patch14_dinov2.lvd142m:model.safetensors"
        )
    path = Path(file).expanduser()
    if model.startswith(OF_TIMM):
        return timm_from_file(model.removeprefix(OF_TIMM), path)
    return torchvision_from_file(model, path)


def untrained(source: str) -> Pretrained:
    """The network of `pretrained` with weights drawn at random where they would be downloaded: it takes as long.

    Raises:
        SettingError: when there is no such network.
    """
    if source.startswith(TIMM):
        return timm_untrained(source.removeprefix(TIMM))
    if source.startswith(TORCHVISION):
        return torchvision_untrained(source.removeprefix(TORCHVISION))
    return pretrained(source)


def check_pretrained(source: str) -> None:
    """Raises the SettingError of `pretrained`, but downloads nothing: only the name is looked at."""
    if source.startswith(TIMM):
        check_timm(source.removeprefix(TIMM))
    elif source.startswith(TORCHVISION):
        check_torchvision(source.removeprefix(TORCHVISION))
    else:
        pretrained(source)


def kept(source: str) -> bool:
    """Whether the weights are in the cache of the Hub; of torchvision's this is not known. Raises SettingError."""
    return source.startswith(TIMM) and kept_timm(source.removeprefix(TIMM))


def check_download(source: str) -> None:
    """Raises the SettingError of a download of `pretrained` that would fail, as far as the Hub says it beforehand."""
    if source.startswith(TIMM):
        check_timm_download(source.removeprefix(TIMM))


def network_on(card: Mapping[str, Any]) -> tuple[nn.Module, int] | None:
    """The network that an encoder's card names and its number of features, with weights drawn at random; None
    for one of our own. Raises SettingError."""
    if TORCHVISION_NAME in card:
        return backbone(card[TORCHVISION_NAME], card["side"])
    if TIMM_NAME in card:
        return timm_network(card[TIMM_NAME], card["arguments"]), card["features"]
    return None
