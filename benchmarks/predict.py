"""`predict` from files, next to the bare network on pixels that are decoded already: images a second on the CPU.

Both are measured in turns in one process, so that both see the same machine; the ratio is the median of the pairs'.
"""

from __future__ import annotations

import io
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image

from benchmarks.pieces import Options, Pieces
from benchmarks.report import table, write
from engine.config import EncoderSettings
from engine.models.about import About, Thresholds
from engine.models.calibration import REFERENCES, Ruler
from engine.models.inputs import asked
from engine.models.model import Model, Recogniser, on_device
from engine.models.rows import Writer, rows_of
from engine.models.streaming import batch_size
from engine.stages.encoder import Encoder, Heads, initialise
from engine.stages.encoder_file import untrained_encoder

CLUSTERS, PAIRS = 10, 7
GOAL = 0.9
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """Files of one kind, and a network; weights are random, since they do not count for speed.

    `stored` is the (width, height) of the files, `side` what the network takes.
    """

    title: str
    network: str
    stored: tuple[int, int]
    side: int
    channels: int
    form: str
    files: int


CASES = {
    "digits": Case("digits, 8×8 grey PNG, small network", "small", (8, 8), 8, 1, "PNG", 1_000),
    "small": Case("32×32 colour PNG, small network", "small", (32, 32), 32, 3, "PNG", 1_000),
    "resnet18": Case("32×32 colour PNG, ResNet-18", "resnet18", (32, 32), 32, 3, "PNG", 96),
    "photographs": Case(
        "photographs, 640×480 JPEG, efficientnet-lite0 at 224",
        "timm:tf_efficientnet_lite0",
        (640, 480),
        224,
        3,
        "JPEG",
        32,
    ),
}


def measure(options: Options) -> None:
    """Writes results/predict."""
    pieces = Pieces("predict", options)
    found = {name: pieces.get(name, lambda one=one: measured(one), seconds=120) for name, one in CASES.items()}
    rows = [
        [
            CASES[name].title,
            f"{one['bare']:,.0f}",
            f"{one['predict']:,.0f}",
            f"{one['ratio']:.2f} ({one['lowest']:.2f}–{one['highest']:.2f})",
            f"{one['busy_bare']:.2f} / {one['busy_predict']:.2f}",
        ]
        for name, one in found.items()
    ]
    body = (
        f"Images a second, medians of {PAIRS} pairs, and predict ÷ bare (lowest and highest pair). *Bare* is the run's "
        "encoder and head alone, as torch runs them, on pixels in memory, in batches of the same size. *predict* reads "
        "a folder of files from the page cache, decodes them, computes distances too and writes JSON lines; networks "
        "of our own have their normalisations folded into their convolutions there. Processor seconds per thousand "
        f"images (bare / predict) tell how much work there is. The goal is {GOAL:.0%}.\n\n"
        + table(["files and network", "bare", "predict", "ratio", "processor s / 1,000"], rows)
    )
    write("predict", "Labelling new images", found, body)


def measured(case: Case) -> dict[str, float]:
    """Medians of `PAIRS` pairs."""
    model = untrained_model(case)
    recogniser = model.recogniser
    assert recogniser is not None
    with TemporaryDirectory() as place:
        pixels = drawn_files(case, Path(place))
        size = batch_size(model.about)
        batches = [torch.from_numpy(pixels[start : start + size]) for start in range(0, len(pixels), size)]

        @torch.inference_mode()
        def bare() -> None:
            for batch in batches:
                recogniser.head(recogniser.encoder(batch.float().div_(255)))[0].softmax(1).numpy()

        def predict() -> None:
            writer = Writer(io.StringIO(), "jsonl")
            for told in asked(model, place, io.StringIO()).told:
                writer.write(rows_of(told, model.about))

        return _pairs(bare, predict, case.files)


def _pairs(bare: Callable[[], None], predict: Callable[[], None], images: int) -> dict[str, float]:
    bare()
    predict()
    times = [(_timed(bare), _timed(predict)) for _ in range(PAIRS)]
    ratios = [one[0] / other[0] for one, other in times]
    return {
        "bare": images / statistics.median(one[0] for one, _ in times),
        "predict": images / statistics.median(other[0] for _, other in times),
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "busy_bare": statistics.median(one[1] for one, _ in times) * 1000 / images,
        "busy_predict": statistics.median(other[1] for _, other in times) * 1000 / images,
    }


def _timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of the processor, children included."""
    began, busy = time.perf_counter(), os.times()
    work()
    after = os.times()
    return time.perf_counter() - began, sum(after[:4]) - sum(busy[:4])


def untrained_model(case: Case) -> Model:
    """A model of random weights."""
    chance = torch.Generator().manual_seed(0)
    if case.network.startswith("timm:"):
        encoder = untrained_encoder(case.network)
        encoder.side = case.side
    else:
        settings = EncoderSettings(backbone=case.network)
        encoder = Encoder(settings, channels=case.channels, side=case.side)
        initialise(encoder, chance)
    encoder.memory_format = torch.channels_last
    encoder.to(memory_format=torch.channels_last)
    head = Heads(1, encoder.features, CLUSTERS)
    initialise(head, chance)
    ruler = Ruler.of(np.random.default_rng(0).random((REFERENCES, encoder.features), np.float32))
    classes = tuple(range(CLUSTERS))
    about = About(
        "untrained",
        "",
        "stage 3",
        tuple(map(str, classes)),
        classes,
        case.channels,
        case.side,
        case.side,
        "crop",
        Thresholds(0.5, 0.5, 0.01),
        {} if case.network.startswith("timm:") else {"encoder": {"backbone": case.network}},
        "",
        0,
        "",
        {},
    )
    return on_device(about, Recogniser(encoder, None, head, ruler, classes), CPU)


def drawn_files(case: Case, place: Path) -> np.ndarray:
    """Files of smooth noise, as compressible as pictures; returns pixels (N, C, H, W) that the network might see."""
    chance = np.random.default_rng(0)
    for number in range(case.files):
        coarse = chance.integers(0, 256, (8, 8, case.channels), np.uint8)
        image = Image.fromarray(coarse[..., 0] if case.channels == 1 else coarse)
        image.resize(case.stored, Image.Resampling.BICUBIC).save(place / f"{number:05d}.{case.form.lower()}", case.form)
    return chance.integers(0, 256, (case.files, case.channels, case.side, case.side), np.uint8)
