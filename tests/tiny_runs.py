"""Tiny runs: 60 drawn images of three kinds of bars, a network of four channels or a tiny frozen one, a few steps."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from benchmarks.tiny_run import TINY
from engine.config import RunConfig, with_settings
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.networks import timm_networks
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.sources.open_source import Opened

FIXTURES = Path(__file__).parent / "fixtures"
FIRST_VERSION, WITHOUT_ADAPTER = "runs-of-the-first-version", "runs-on-vectors-without-an-adapter"
# A transformer of timm's with 64 features. It sees 32 pixels a side instead of its own 160, which is a twenty-fifth of
# the arithmetic.
FROZEN, FROZEN_SIDE = "test_vit", 32
MakeRun = Callable[..., RunFolder]


def drawn(seed: int = 0, images: int = 60) -> tuple[ImageSet, Truth]:
    """Images of noise with horizontal, vertical or no bars, with their truth."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 60, (images, 1, 8, 8), dtype=np.uint8)
    labels = np.arange(images) % 3
    for index, label in enumerate(labels):
        if label == 1:
            pixels[index, 0, 3:5] = 255
        elif label == 2:
            pixels[index, 0, :, 3:5] = 255
    ids = tuple(f"bar-{index:02d}" for index in range(images))
    return ImageSet(pixels, ids, "drawn"), Truth(labels.astype(np.int64), ("none", "flat", "tall"))


def tiny_config(**changes: object) -> RunConfig:
    return with_settings(preset("quick", clusters=3, channels=1), {**TINY, **changes})


def save_frozen_network(file: Path, seed: int = 0) -> str:
    """Writes random weights of a tiny transformer to `file`; what `features.source` says of them."""
    torch.manual_seed(seed)
    save_file(timm.create_model(FROZEN, pretrained=False, img_size=32).state_dict(), file)
    return f"weights:timm/{FROZEN}:{file}"


@pytest.fixture
def frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a run on a tiny frozen network with one weak and two strong views of each image."""
    monkeypatch.setattr(timm_networks, "MOST_SIDE", FROZEN_SIDE)
    return {
        "features.source": save_frozen_network(tmp_path / "weights.safetensors"),
        "features.epochs": 0,
        "features.weak_views": 1,
        "features.strong_views": 2,
    }


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Makes a run folder called `name` over the drawn images; `truth` may be replaced or None."""

    def make(name: str = "run", truth: object = "own", **changes: object) -> RunFolder:
        images, own = drawn()
        chosen = own if truth == "own" else truth
        opened = replace(Opened(images), truth=chosen)
        return create_run(tmp_path / name, opened, tiny_config(**changes))

    return make


def unpacked(name: str, place: Path) -> Path:
    """`place`, with the run folders of fixtures/NAME.zip in it, written by the code of an earlier version."""
    with zipfile.ZipFile(FIXTURES / f"{name}.zip") as archive:
        archive.extractall(place)
    return place
