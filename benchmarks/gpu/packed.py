"""The weights of a network in a small file: bfloat16, in two planes of bytes.

A bfloat16 has a sign bit, 8 bits of exponent and 7 bits of fraction. Rotated by one bit, the exponent fills
one byte. Exponents are similar among the weights of a network: stored together, they compress to a third.
"""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.errors import SettingError

State = dict[str, torch.Tensor]


def pack(state: State, card: dict[str, Any]) -> bytes:
    """An .npz file of a state dict and a card of plain values. Floating-point numbers keep 8 bits of
    precision, whole numbers are exact.

    >>> state, card = unpack(pack({"w": torch.tensor([1.0, 1 / 3])}, {"side": 32}))
    >>> state["w"].tolist(), card
    ([1.0, 0.333984375], {'side': 32})
    """
    moving = {name: value for name, value in state.items() if value.is_floating_point()}
    whole = {name: value for name, value in state.items() if name not in moving}
    flat = [value.detach().cpu().to(torch.bfloat16).flatten() for value in moving.values()]
    bits = torch.cat(flat).view(torch.uint16).numpy()
    planes = (bits << 1 | bits >> 15).astype("<u2").view(np.uint8).reshape(-1, 2)
    shapes = {name: list(value.shape) for name, value in moving.items()}
    about = json.dumps({"card": card, "shapes": shapes, "names": list(state)})
    arrays = {f"whole/{name}": value.cpu().numpy() for name, value in whole.items()}
    content = io.BytesIO()
    np.savez_compressed(content, about=np.array(about), low=planes[:, 0], high=planes[:, 1], **arrays)
    return content.getvalue()


def unpack(content: bytes) -> tuple[State, dict[str, Any]]:
    """The arguments of `pack`, with the weights as float32; raises ValueError for any other content."""
    if not content.startswith(b"PK"):
        raise ValueError("it is no .npz file")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            turned = np.stack((arrays["low"], arrays["high"]), 1).view("<u2").ravel()
            state = {
                name.removeprefix("whole/"): torch.from_numpy(arrays[name])
                for name in arrays.files
                if name.startswith("whole/")
            }
        bits = torch.from_numpy((turned >> 1 | turned << 15).astype(np.uint16))
        numbers, place = bits.view(torch.bfloat16).float(), 0
        for name, shape in about["shapes"].items():
            size = int(np.prod(shape))
            state[name] = numbers[place : place + size].view(shape)
            place += size
        return {name: state[name] for name in about["names"]}, dict(about["card"])
    except (KeyError, TypeError, RuntimeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def read(path: Path) -> tuple[State, dict[str, Any]]:
    """Reads a packed file; raises SettingError if there is none or it contains something else."""
    try:
        return unpack(path.read_bytes())
    except OSError as error:
        raise SettingError(f"{path} cannot be read ({error.strerror}): name the stage1.npz of a sitting") from None
    except ValueError as error:
        raise SettingError(f"{path} holds no packed weights ({error}): name the stage1.npz of a sitting") from None
