"""Trained encoders: stage 1 can start from one instead of random weights.

An encoder is one file: its weights and a card that says how it was trained. The encoders shipped with the
app are in assets/encoders, each with a model card.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.config import ENCODER, EncoderSettings, from_dict
from engine.errors import SettingError, first_sentence, out_of_memory
from engine.networks.hub import Downloads
from engine.networks.pretrained import TIMM_NAME, TORCHVISION_NAME, network_on, pretrained, untrained
from engine.networks.weights import UNREADABLE, MissingLibraryError, Pretrained
from engine.stages.encoder import Encoder

FOLDER = Path(__file__).parents[2] / "assets" / "encoders"
# The fields of a card that say what its encoder is, whatever images it has been trained on since.
NETWORK = ("encoder", TORCHVISION_NAME, TIMM_NAME, "arguments", "features", "interpolation", "origin")


def known_encoders() -> list[str]:
    """The names of the encoders that come with the app."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def pack_encoder(
    encoder: Encoder, network: EncoderSettings | dict[str, Any], side: int, made: dict[str, Any], *, exact: bool = False
) -> bytes:
    """The file of `encoder`, with weights in half precision unless `exact`.

    Args:
        network: the settings of its network, or what the card of its encoder says of it.
        side: of the images that it was trained on, in pixels.
        made: how, in plain values.
    """
    weights = {
        name: value.half() if value.is_floating_point() and not exact else value
        for name, value in encoder.state_dict().items()
    }
    known = network if isinstance(network, dict) else {"encoder": asdict(network)}
    return _packed({**known, "channels": encoder.channels, "side": side, **made}, weights)


def _packed(card: dict[str, Any], weights: dict[str, torch.Tensor]) -> bytes:
    content = io.BytesIO()
    torch.save({"card": card, "weights": {k: v.cpu() for k, v in weights.items()}}, content)
    return content.getvalue()


def encoder_content(source: str, downloads: Downloads | None = None) -> bytes:
    """The file of the encoder that `source` ("encoder:…", "timm:…", "torchvision:…" or "weights:…") names.

    The file is self-contained. Raises SettingError.
    """
    if source.startswith(ENCODER):
        load_encoder(source)
        return encoder_path(source).read_bytes()
    found = pretrained(source, downloads)
    return _packed(found.card, _weights_of(found))


def _weights_of(found: Pretrained) -> dict[str, torch.Tensor]:
    """The weights of an encoder on this network, by the encoder's own names."""
    own = {"mean": found.mean, "deviation": found.deviation}
    return own | {f"backbone.{name}": value for name, value in found.state.items()}


def read_card(source: str) -> dict[str, Any]:
    """How the encoder "encoder:NAME" was made; raises SettingError."""
    return dict(_read(source)["card"])


def network_of(source: str) -> tuple[dict[str, Any], int]:
    """What the card of "encoder:…" says of its network, and its image side; raises SettingError."""
    card = read_card(source)
    return {name: card[name] for name in NETWORK if name in card}, card["side"]


def load_encoder(source: str, *, norm_groups: int = 1) -> Encoder:
    """The encoder "encoder:NAME" or "encoder:FILE", on the CPU.

    It takes images of any side and colour: they are scaled to the side it was trained with.

    Raises:
        SettingError: when there is none, or the file is not an encoder.
    """
    found = _read(source)
    try:
        return built_encoder(found["card"], found["weights"], norm_groups=norm_groups)
    except (*UNREADABLE, SettingError) as error:
        if out_of_memory(error) or isinstance(error, MissingLibraryError):
            raise
        raise SettingError(f"{source} is damaged ({first_sentence(error)}): {_choose()}") from None


def untrained_encoder(source: str, *, norm_groups: int = 1) -> Encoder:
    """The encoder that a network from elsewhere ("timm:…", …) becomes, with weights drawn at random where they would
    be downloaded: it takes as long. Raises SettingError."""
    found = untrained(source)
    return built_encoder(found.card, _weights_of(found), norm_groups=norm_groups)


def built_encoder(card: Mapping[str, Any], weights: Mapping[str, torch.Tensor], *, norm_groups: int = 1) -> Encoder:
    """The encoder of a card, with these weights. It scales images to its side, unless `fixed_side` in the card is
    false. Raises SettingError, and what torch raises for weights of another network."""
    network = network_on(card)
    encoder = Encoder(
        EncoderSettings() if network else from_dict(card["encoder"], EncoderSettings),
        channels=card["channels"],
        side=card["side"],
        norm_groups=norm_groups,
        fixed_side=card.get("fixed_side", True),
        network=network,
        interpolation=card.get("interpolation", "bilinear"),
    )
    encoder.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in weights.items()})
    return encoder


def encoder_path(source: str) -> Path:
    """The file of "encoder:NAME" or "encoder:FILE.pt"; raises SettingError for any other text."""
    name = source.removeprefix(ENCODER)
    if not source.startswith(ENCODER) or not name:
        raise SettingError(f"features.source is {source!r}: {_choose()}")
    return Path(name).expanduser() if name.endswith(".pt") else FOLDER / f"{name}.pt"


def _read(source: str) -> dict[str, Any]:
    path, name = encoder_path(source), source.removeprefix(ENCODER)
    try:
        found = dict(torch.load(path, map_location="cpu", weights_only=True))
        return {"card": dict(found["card"]), "weights": dict(found["weights"])}
    except FileNotFoundError:
        raise SettingError(f"there is no encoder {name!r}: {_choose()}") from None
    except UNREADABLE as error:
        if out_of_memory(error):
            raise
        raise SettingError(f"{path} is not an encoder ({first_sentence(error)}): {_choose()}") from None


def _choose() -> str:
    names = ", ".join(["scratch", *(ENCODER + name for name in known_encoders()), "encoder:FILE.pt"])
    return f"choose one of {names}"
