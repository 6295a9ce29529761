"""Images per second of the engine's pass with a frozen network, against a bare loop of the network alone.

Both see the same batches in one process, in turns: other work on the machine slows them alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.config import RunConfig
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.runs.feature_cache import RowFile
from engine.runs.files import FileCheckpoint
from engine.runs.folder import RunFolder
from engine.runs.pipeline import encoder_of
from engine.stages.encoder import Encoder
from engine.stages.frozen_features import BLOCK, compute_features

BLOCKS, ROUNDS = 2, 3


class _Recorder(nn.Module):
    """The network, which remembers the batches that it is given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.batches: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(x.clone(memory_format=torch.preserve_format))
        return self.network(x)


def embedding_speed(folder: RunFolder, device: torch.device) -> dict[str, Any]:
    """Images and views per second of engine and bare loop, and the median of their ratios by round."""
    images = folder.images()
    few = ImageSet(images.pixels[: BLOCKS * BLOCK], images.ids[: BLOCKS * BLOCK], images.source)
    pixels = DeviceImages(few, device)
    encoder = encoder_of(folder, pixels).eval()
    network = encoder.backbone
    recorder = _Recorder(network)
    encoder.backbone = recorder
    _pass(folder.config(), pixels, encoder)
    encoder.backbone = network
    count = sum(map(len, recorder.batches))
    rounds = [
        (_seconds(lambda: _pass(folder.config(), pixels, encoder)), _seconds(lambda: _bare(network, recorder.batches)))
        for _ in range(ROUNDS)
    ]
    return {
        "count": count,
        "engine": count / statistics.median(engine for engine, _ in rounds),
        "bare": count / statistics.median(bare for _, bare in rounds),
        "ratio": statistics.median(bare / engine for engine, bare in rounds),
    }


def _pass(config: RunConfig, pixels: DeviceImages, encoder: Encoder) -> None:
    """The engine's pass over all images and views, with its files, into a temporary folder."""
    settings = config.features
    with tempfile.TemporaryDirectory() as name:
        place, width = Path(name), encoder.features
        shapes = {
            "vectors": ((len(pixels), width), "<f4"),
            "weak": ((settings.weak_views, len(pixels), width), "<f2"),
            "strong": ((settings.strong_views, len(pixels), width), "<f2"),
        }
        files = [RowFile(place / f"{file}.npy", *shape) for file, shape in shapes.items()]
        compute_features(
            config,
            pixels,
            encoder,
            *files,
            emit=lambda _event: None,
            stop=lambda: False,
            checkpoint=FileCheckpoint(place / "checkpoint.pt"),
        )
        for file in files:
            file.close()


@torch.inference_mode()
def _bare(network: nn.Module, batches: list[torch.Tensor]) -> None:
    for batch in batches:
        network(batch)


def _seconds(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began
