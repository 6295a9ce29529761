"""Fixtures for the tests of several rooms: a folder of drawn images, a random generator, one thread."""

from __future__ import annotations

import os

# Before a library begins its threads, also in processes that tests start: several tests run at once, and threads that
# wait for each other on too few cores take several times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", str(os.cpu_count()))  # test_blas takes these away and gives them back

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# Fixtures for the tests of several rooms.
pytest_plugins = ["tests.tiny_runs", "tests.encoded_images", "tests.local_hub"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Uses one thread: the number of threads affects rounding, and a test of the runner may have changed it."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Session fixtures also use one thread, and not the user's cache."""
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("SPICE_EXPLORER_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test has an empty cache, home and runs folder instead of the user's."""
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setenv("SPICE_EXPLORER_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("SPICE_EXPLORER_RUNS", str(tmp_path_factory.mktemp("runs")))


@pytest.fixture
def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def drawn_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 colour images of 12 × 12 pixels in two class folders: red bars and blue spots, on noise."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("drawn") / "photos"
    for index in range(40):
        pixels = rng.integers(0, 60, (12, 12, 3), dtype=np.uint8)
        if index % 2:
            pixels[4:8, :, 0] = 250
        else:
            pixels[4:8, 4:8, 2] = 250
        folder = root / ("bars" if index % 2 else "spots")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture
def photos(drawn_photos: Path, tmp_path: Path) -> Path:
    """A copy of the drawn images, which a test may change."""
    return shutil.copytree(drawn_photos, tmp_path / "photos")
