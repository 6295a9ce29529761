"""Encoders that were trained before: stage 1 can begin with one instead of random weights.

An encoder is one file: half-precision weights and a card that says how it was made. Those that come
with the app lie in assets/encoders, each with a model card to read.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from engine.config import EncoderSettings, from_dict
from engine.errors import SettingError
from engine.stages.encoder import Encoder

FOLDER = Path(__file__).parents[2] / "assets" / "encoders"
PREFIX = "encoder:"
# What torch raises, depending on the bytes, of a file that is not what it should be.
_UNREADABLE = (
    pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, TypeError, LookupError,
    AttributeError,
)  # fmt: skip


def known_encoders() -> list[str]:
    """The names of the encoders that come with the app."""
    return sorted(path.stem for path in FOLDER.glob("*.pt"))


def pack_encoder(encoder: Encoder, settings: EncoderSettings, side: int, made: dict[str, Any]) -> bytes:  # fmt: skip
    """The file of `encoder`, trained on images of `side` pixels; `made` says how, in plain values."""
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in encoder.state_dict().items()
    }
    card = {"encoder": asdict(settings), "channels": encoder.channels, "side": side, **made}
    content = io.BytesIO()
    torch.save({"card": card, "weights": {k: v.cpu() for k, v in weights.items()}}, content)
    return content.getvalue()


def read_card(source: str) -> dict[str, Any]:
    """How the encoder "encoder:NAME" was made; raises SettingError."""
    return dict(_read(source)["card"])


def load_encoder(source: str, *, norm_groups: int = 1) -> Encoder:
    """The encoder "encoder:NAME" or "encoder:FILE", on the CPU.

    It takes images of any side and colour: they are scaled to the side it was trained with.

    Raises:
        SettingError: when there is none, or the file is not an encoder.
    """
    found = _read(source)
    try:
        card = found["card"]
        encoder = Encoder(
            from_dict(card["encoder"], EncoderSettings), channels=card["channels"],
            side=card["side"], norm_groups=norm_groups, fixed_side=True,
        )  # fmt: skip
        encoder.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in found["weights"].items()})  # fmt: skip
    except (*_UNREADABLE, SettingError) as error:
        raise SettingError(f"{source} is damaged ({_reason(error)}): {_choose()}") from None
    return encoder


def encoder_path(source: str) -> Path:
    """The file of "encoder:NAME" or "encoder:FILE.pt"; raises SettingError for any other text."""
    name = source.removeprefix(PREFIX)
    if not source.startswith(PREFIX) or not name:
        raise SettingError(f"features.source is {source!r}: {_choose()}")
    return Path(name).expanduser() if name.endswith(".pt") else FOLDER / f"{name}.pt"


def _read(source: str) -> dict[str, Any]:
    path, name = encoder_path(source), source.removeprefix(PREFIX)
    try:
        found = dict(torch.load(path, map_location="cpu", weights_only=True))
        return {"card": dict(found["card"]), "weights": dict(found["weights"])}
    except FileNotFoundError:
        raise SettingError(f"there is no encoder {name!r}: {_choose()}") from None
    except _UNREADABLE as error:
        raise SettingError(f"{path} is no encoder ({_reason(error)}): {_choose()}") from None


def _reason(error: Exception) -> str:
    """The first sentence: torch goes on with advice that is not for whoever trains."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0].rstrip(":.")


def _choose() -> str:
    names = ", ".join(["scratch", *(PREFIX + name for name in known_encoders()), "encoder:FILE.pt"])
    return f"choose one of {names}"
