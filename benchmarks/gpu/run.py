"""CIFAR-10 through all three stages in the available time, scored after each; training uses no labels.

The speed is measured first, and the schedule is chosen from it, so that every learning-rate schedule runs
to its end. The run is a normal run, with frames; ground truth is used only to score.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cifar10 import below, features_judged, judged
from benchmarks.cifar10_images import NAME, archive, cifar10_images
from benchmarks.gpu import packed
from benchmarks.gpu.sitting import Sitting, Unfit
from benchmarks.gpu.speed import images_a_step
from benchmarks.pieces import WORK
from benchmarks.report import ROOT
from benchmarks.speed import Bench
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.errors import SettingError, SourceError, Stopped
from engine.events import Event, Progress, RunFinished, RunStarted, RunStopped, Stage, StageStarted
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.pipeline import train
from engine.runs.predict import predict_images, scores
from engine.runs.results import load_reliable, observe, summary
from engine.sources.open_source import Opened
from engine.stages.encoder import Encoder
from engine.stages.encoder_file import pack_encoder
from engine.stages.features import build_encoder, encode

STAGES: tuple[Stage, ...] = ("features", "heads", "joint")
# Shares of the time for stages 1 and 3; the rest is for stage 2 and a margin.
FIRST, THIRD = 0.58, 0.37
# Seconds reserved for opening, k-means, scores and packing on a GPU; seconds to measure a pace.
RESERVE, PACE = 60.0, 5.0
# The share of the time for stage 3 if stage 1 comes from --from.
THIRD_ALONE = 0.9
LOGGED_SECONDS = 10.0
# The number of training images in the whole set.
ALL = 50_000
LARGEST_FILE = 16 * 2**20


def run(sitting: Sitting) -> None:
    """Keeps the schedule, the scores after each stage, the curve of stage 1 and the run's summary."""
    whole = sitting.options.images >= ALL
    most = None if whole else sitting.options.images
    opened, test = (cifar10_images(sitting.options, split, most) for split in ("train", "test"))
    sitting.say(f"{NAME}: {len(opened.images):,} images to train on, {len(test.images):,} to score on")
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as place:
        config = scheduled(sitting, begun(sitting, Path(place)), len(opened.images))
        folder = create_run(Path(place) / "run", opened, config)
        _Trained(sitting, folder, test).train()


def decode_ahead(sitting: Sitting) -> subprocess.Popen[bytes] | None:
    """Unpacks and decodes the images in a second process while the GPU is checked; None without a GPU, with
    few images, or if there are none here."""
    if not sitting.gpu or sitting.options.images < ALL:
        return None
    try:
        archive(sitting.options)
    except SourceError:
        return None
    code = (
        "from pathlib import Path\nfrom benchmarks.cifar10_images import cifar10_images\n"
        "from benchmarks.pieces import Options\n"
        f"data = {str(sitting.options.data or '')!r}\n"
        "for split in ('train', 'test'): cifar10_images(Options(data=Path(data) if data else None), split)"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)


# -- the start and the schedule ----------------------------------------------------------------


def begun(sitting: Sitting, place: Path) -> RunConfig:
    """The settings; with --from, stage 1 starts from the weights of an earlier sitting."""
    config, earlier = sitting.config, sitting.options.earlier
    if earlier is None:
        return config
    state, card = packed.read(earlier)
    check_network(config, card, earlier)
    encoder = Encoder(config.encoder, channels=card["channels"], side=card["side"])
    encoder.load_state_dict(state)
    file = place / "stage1.pt"
    file.write_bytes(pack_encoder(encoder, config.encoder, card["side"], card["made"], exact=True))
    asked = {one.partition("=")[0] for one in sitting.options.assignments}
    epochs = {} if "features.epochs" in asked else {"features.epochs": 0}
    return with_settings(config, {"features.source": f"encoder:{file}", **epochs})


def check_network(config: RunConfig, card: dict[str, Any], path: Path) -> None:
    """Raises SettingError if the weights belong to another network than the one to train."""
    if "stage" not in card or card["stage"] != "features":
        raise SettingError(f"{path} is not stage 1 of a sitting: name its stage1.npz")
    if card["encoder"] != asdict(config.encoder):
        raise SettingError(
            f"{path} holds the network {_named(card['encoder'])}, but this sitting trains "
            f"{_named(asdict(config.encoder))}: name it with --set encoder.backbone=…, or another file"
        )


def _named(encoder: dict[str, Any]) -> str:
    small = encoder["backbone"] == "small"
    return f"{encoder['backbone']} ({encoder['width']})" if small else str(encoder["backbone"])


def scheduled(sitting: Sitting, config: RunConfig, images: int) -> RunConfig:
    """`config` with as many epochs and steps as the time allows, at most its own; those set by --set stay."""
    asked = {one.partition("=")[0] for one in sitting.options.assignments}
    bench = Bench(config, sitting.device, min(images, 5000), PACE if sitting.gpu else 0.5)
    first = bench.stage1()["images_per_second"] if config.features.epochs else None
    paces = {"stage 1": first, "stage 3": bench.stage3()["images_per_second"]}
    left = sitting.seconds_left() - (RESERVE if sitting.gpu else 0.2 * sitting.seconds_left())
    if left <= 0:
        raise Unfit(f"run: {sitting.seconds_left():.0f} s are left, but opening and scores need {RESERVE:.0f}")
    third = THIRD_ALONE if first is None else THIRD
    steps = int(third * left * paces["stage 3"] / images_a_step(config, images))
    found = {"joint.steps": min(config.joint.steps, max(1, steps))}
    if first is not None:
        found["features.epochs"] = min(config.features.epochs, max(1, int(FIRST * left * first / images)))
    chosen = {name: value for name, value in found.items() if name not in asked}
    sitting.keep("run", "schedule", {"images": images, "paces": paces, "seconds": round(left), **chosen})
    return with_settings(config, chosen)


# -- training, and the results of each stage ---------------------------------------------------


class _Trained:
    """The run, and the stages whose results have been taken from it."""

    def __init__(self, sitting: Sitting, folder: RunFolder, test: Opened) -> None:
        self.sitting, self.folder, self.test = sitting, folder, test
        self.taken: set[Stage] = set()
        self._logged = sitting.seconds_left()

    def train(self) -> None:
        device = self.sitting.device
        with self.folder.lock():
            self.emit(RunStarted(str(device), torch.get_num_threads()))
            try:
                train(self.folder, device=device, emit=self.emit, stop=self.late)
                self.emit(RunFinished())
            except Stopped:
                self.emit(RunStopped())
        self._take_done()
        if observe(self.folder).state == "stopped":
            self._take_unfinished()
        said = summary(self.folder, observe(self.folder))
        self.sitting.keep("run", "summary", {**said, "source": NAME})

    def late(self) -> bool:
        return self.sitting.seconds_left() < (RESERVE / 3 if self.sitting.gpu else 1)

    def emit(self, event: Event) -> None:
        """Before a stage starts, the stages that are done are scored and written, outside of its time."""
        if isinstance(event, StageStarted):
            self._take_done()
        self.folder.append(event)
        if isinstance(event, Progress):
            self._tell(event)

    def _tell(self, event: Progress) -> None:
        """Writes a line to the log now and then."""
        if self._logged - self.sitting.seconds_left() < LOGGED_SECONDS:
            return
        self._logged = self.sitting.seconds_left()
        losses = ", ".join(f"{name} {value:.3f}" for name, value in event.losses.items())
        pace = f"{event.images_per_second:,.0f} images/s"
        self.sitting.say(f"{event.stage}, step {event.step:,}, {pace}, {losses}")

    def _take_done(self) -> None:
        for stage in STAGES:
            if stage not in self.taken and self.folder.has(stage):
                self.taken.add(stage)
                {"features": self._take_features, "heads": self._take_heads, "joint": self._take_joint}[stage]()

    def _take_features(self) -> None:
        self._write_weights("stage1.npz", self.folder.weights("features"), "features")
        vectors = self._test_vectors()
        truth = self.test.truth
        assert truth is not None
        self.sitting.keep("run", "stage 1", features_judged(vectors, truth.labels, 0, self.sitting.device))
        self.sitting.keep("run", "curve", self._curve())

    def _take_heads(self) -> None:
        self.sitting.keep("run", "stage 2", self._test_scores())
        self._write_arrays()

    def _take_joint(self) -> None:
        self._write_weights("joint.npz", self.folder.weights("joint"), "joint")
        self.sitting.keep("run", "stage 3", self._test_scores())
        self._write_arrays()

    def _take_unfinished(self) -> None:
        """If time ran out during a stage, takes its weights as they are."""
        found = judged(self.folder, self.test, self.sitting.device)
        checkpoint = self.folder.checkpoint(found["stage"]).load()
        if checkpoint is not None and found["stage"] == "features":
            weights = below(checkpoint["objective"], "encoder.")
            self._write_weights("stage1.npz", weights, "features")
        elif checkpoint is not None and found["stage"] == "joint":
            self._write_weights("joint.npz", checkpoint["average"], "joint")
        self.sitting.keep("run", "stopped", found)

    # -- scores --------------------------------------------------------------------------------

    def _test_scores(self) -> dict[str, float]:
        return scores(predict_images(self.folder, self.test.images, self.sitting.device), self.test.truth)

    def _test_vectors(self) -> np.ndarray:
        pixels = DeviceImages(self.test.images, self.sitting.device)
        encoder = build_encoder(self.folder.config(), pixels, channels=3, side=min(self.test.images.size))
        encoder.load_state_dict(self.folder.weights("features"))
        return encode(encoder.eval(), pixels).cpu().numpy()

    def _curve(self) -> list[dict[str, float]]:
        """k-means and the neighbours' vote on the frames of stage 1, in their 32 leading directions, on at
        most 10,000 training images."""
        truth, found = self.folder.truth(), []
        assert truth is not None
        for place in sorted((self.folder.path / "frames").glob("features-*")):
            vectors = np.asarray(self.folder.load(f"frames/{place.name}")["vectors"], np.float32)
            some = slice(None, None, max(1, len(vectors) // 10_000))
            step = int(place.name.partition("-")[2])
            found.append({"step": step, **features_judged(vectors[some], truth.labels[some], 0, self.sitting.device)})
        return found

    # -- files ---------------------------------------------------------------------------------

    def _write_weights(self, name: str, state: dict[str, torch.Tensor], stage: Stage) -> None:
        config = self.folder.config()
        card = {
            "stage": stage,
            "encoder": asdict(config.encoder),
            "channels": 3,
            "side": min(self.test.images.size),
            "clusters": config.clusters,
            "made": {
                "source": NAME,
                "epochs": config.features.epochs,
                "objective": config.features.objective,
                "steps": config.joint.steps,
                "seed": config.seed,
            },
        }
        self._write(name, packed.pack(state, card))

    def _write_arrays(self) -> None:
        """Writes the outputs of stages 2 and 3 for every image, in few bytes."""
        arrays = dict(self.folder.load("heads"))
        found = {
            "head_labels": arrays["head_labels"].astype(np.uint16),
            "head_losses": arrays["losses"],
            "chosen": arrays["chosen"],
            "probabilities": arrays["probabilities"].astype(np.float16),
        }
        if self.folder.has("reliable-heads"):
            reliable = load_reliable(self.folder, "heads")
            found |= {"verdicts": reliable.verdicts, "agreement": reliable.agreement.astype(np.float16)}
        if self.folder.has("joint"):
            found["joint_probabilities"] = self.folder.load("joint")["probabilities"].astype(np.float16)
        content = io.BytesIO()
        np.savez_compressed(content, **found)
        self._write("arrays.npz", content.getvalue())

    def _write(self, name: str, content: bytes) -> None:
        self.sitting.write(name, content)
        size = f"{name}: {len(content) / 2**20:.1f} MiB"
        self.sitting.say(size if len(content) < LARGEST_FILE else f"{size}, more than the limit of 16 MiB")
