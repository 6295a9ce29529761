"""Trained weights: what a source gives, how a file of them is read, and what does not fit a network."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from engine.errors import SettingError, first_sentence, out_of_memory

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


class MissingLibraryError(SettingError):
    """A network needs a library that is not installed; nothing is wrong with its name or its file."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A pretrained backbone and the input it expects.

    Attributes:
        model: the library's name of the network.
        side: of its images, pixels.
        mean, deviation: (C,) float32, of pixels in 0–1.
        state: the weights of the network without its classifier.
        made: the origin of the weights for an encoder's card, plain values.
        library: the field of the card that names the network: "torchvision" or "timm".
        arguments: what else the library needs to build the network, plain values; None for torchvision.
        features: D, unless the library tells it.
        interpolation: how images are scaled to `side`.
    """

    model: str
    side: int
    mean: torch.Tensor
    deviation: torch.Tensor
    state: State
    made: dict[str, Any]
    library: str = "torchvision"
    arguments: dict[str, Any] | None = None
    features: int | None = None
    interpolation: str = "bilinear"

    @property
    def card(self) -> dict[str, Any]:
        """What an encoder's card says of it, plain values."""
        built = {} if self.arguments is None else {"arguments": self.arguments, "features": self.features}
        return {
            self.library: self.model,
            **built,
            "channels": len(self.mean),
            "side": self.side,
            "interpolation": self.interpolation,
            **self.made,
        }


def read_weights(path: Path) -> State:
    """The tensors by name in a .safetensors file or one of torch's, on the CPU; nothing in a file is run.

    Raises:
        SettingError: when there is no file, or it holds something else.
    """
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


def misfit(
    origin: str, model: str, *, missing: list[str], over: list[str], other: list[str], wild: list[str]
) -> SettingError | None:
    """The error of weights from `origin` that are not those of `model`, None if nothing is wrong.

    Args:
        missing, over: names that the weights lack, or that the network does not have.
        other: sentences about names of another shape.
        wild: names of weights that are not finite.
    """
    faults = (("it lacks", missing), ("it has unknown", over), ("", other), ("not finite:", wild))
    wrong = [f"{what} {_listed(names)}".strip() for what, names in faults if names]
    if not wrong:
        return None
    return SettingError(
        f"{origin} does not fit {model}: {'; '.join(wrong)}; name the network it was made for, or use another file"
    )


def not_finite(state: State) -> list[str]:
    return [name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()]


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def shape_of(sizes: torch.Size | list[int]) -> str:
    """ "24×3×3×3", or "one number"."""
    return "×".join(map(str, sizes)) or "one number"
