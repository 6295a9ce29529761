"""CIFAR-10 (JPEG q92) from scratch: accuracy against time, in slices that can be interrupted.

Runs are trained on the training images and scored on the test images, as in the paper's split;
clusters are matched to classes on the test images. Ground truth is used only to score. The reported
time does not include scoring.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import torch

from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.pieces import Options, OutOfTime, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine import metrics
from engine.config import RunConfig, flat, override
from engine.data.batches import DeviceImages
from engine.errors import TrainingError
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.predict import predict_images, scores
from engine.runs.results import observe, summary
from engine.runs.runner import Device, choose_device, execute
from engine.sources.open_source import Opened
from engine.space.kmeans import kmeans_labels
from engine.space.neighbors import nearest
from engine.stages.encoder import Heads
from engine.stages.features import build_encoder, encode
from engine.stages.joint import Classifier, predict

SLICES = 12
LEAST_SLICE_SECONDS = 20.0
NEIGHBORS = 20


def configured(options: Options, seed: int) -> RunConfig:
    config = preset(options.preset, clusters=10, channels=3, seed=seed)
    return override(config, *options.assignments)


def train(options: Options, pieces: Pieces, seed: int) -> dict[str, Any]:
    """Trains one run to its end, in slices; each slice adds a point to the curve.

    Raises:
        OutOfTime: if the time is up; the next call resumes the run from its checkpoint.
    """
    chosen = choose_device(options.device)
    folder = RunFolder(pieces.folder / f"run-{seed}")
    test = cifar10_images(options, "test", None if whole(options) else options.images)
    if not folder.exists:
        opened = cifar10_images(options, "train", None if whole(options) else options.images)
        create_run(folder.path, opened, configured(options, seed))
    curve = pieces.folder / f"curve-{seed}.jsonl"
    slice_seconds = max(LEAST_SLICE_SECONDS, min(60.0, options.minutes * 60 / SLICES))
    while True:
        if options.seconds_left() < 2 * slice_seconds:
            raise OutOfTime(f"seed {seed} is not done: run the same command again")
        state = _slice(folder, chosen, slice_seconds)
        if state == "failed":
            raise TrainingError(observe(folder).message)
        with curve.open("a") as file:
            file.write(json.dumps(judged(folder, test, chosen.device)) + "\n")
        if state == "finished":
            break
    points = [json.loads(line) for line in curve.read_text().splitlines()]
    # The last point is that of the finished model.
    done = {"summary": summary(folder, observe(folder)), "curve": points, "test": points[-1]}
    if chosen.device.type == "cuda":
        done["megabytes"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return done


def _slice(folder: RunFolder, chosen: Device, seconds: float) -> str:
    """Trains for `seconds`, or until the run has ended."""
    control = Control()
    timer = threading.Timer(seconds, control.stop)
    timer.start()
    try:
        with folder.lock():
            return execute(folder, chosen, control)
    finally:
        timer.cancel()


def judged(folder: RunFolder, test: Opened, device: torch.device) -> dict[str, Any]:
    """The state of the run: seconds of training, stage, step, and scores on the test images."""
    snapshot = observe(folder)
    stage = snapshot.stage or "joint"
    found = {"seconds": round(snapshot.seconds, 1), "stage": stage}
    checkpoint = folder.checkpoint(stage).load()
    assert test.truth is not None
    if snapshot.state == "finished" or (stage == "heads" and folder.has("heads")):
        return found | scores(predict_images(folder, test.images, device), test.truth)
    if checkpoint is None or stage == "heads":
        return found
    pixels = DeviceImages(test.images, device)
    config = folder.config()
    encoder = build_encoder(config, pixels, channels=3, side=min(test.images.size))
    found["step"] = checkpoint["step"]
    if stage == "features":
        weights = checkpoint["objective"]
        encoder.load_state_dict(below(weights, "encoder."))
        vectors = encode(encoder.eval(), pixels).cpu().numpy()
        return found | features_judged(vectors, test.truth.labels, 0, device)
    head = Heads(1, encoder.features, config.clusters).to(device)
    model = Classifier(encoder, head)
    model.load_state_dict(checkpoint["average"])
    labels = predict(model.eval(), pixels).argmax(1)
    return found | metrics.truth_scores(labels, test.truth.labels)


def below(weights: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def features_judged(vectors: np.ndarray, truth: np.ndarray, seed: int, device: torch.device) -> dict[str, float]:
    """Accuracy of k-means and of the neighbours' vote on features (N, D) with truth (N,)."""
    near = truth[nearest(vectors, NEIGHBORS, device=device).ids]
    votes = np.apply_along_axis(np.bincount, 1, near, minlength=truth.max() + 1)
    return {
        "acc": metrics.accuracy(kmeans_labels(vectors, int(truth.max()) + 1, seed), truth),
        "neighbors": float((votes.argmax(1) == truth).mean()),
    }


def whole(options: Options) -> bool:
    return options.images >= 50_000


def measure(options: Options) -> None:
    """Writes results/cifar10-DEVICE."""
    pieces = Pieces("cifar10", options)
    runs = [pieces.get(f"seed {s}", lambda s=s: train(options, pieces, s)) for s in range(options.seeds)]
    count = runs[0]["summary"]["images"]
    base = flat(preset(options.preset, clusters=10, channels=3))
    changed = {k: v for k, v in flat(configured(options, 0)).items() if base[k] != v}
    body = "\n\n".join(
        [
            f"{NAME}, K = 10, preset `{options.preset}`"
            + (f" with {', '.join(f'{k} = {v}' for k, v in changed.items())}" if changed else "")
            + f"; trained on {count:,} training images, scored on "
            f"{'the 10,000' if whole(options) else f'{options.images:,} of the'} test images, "
            f"{options.seeds} seeds: mean ± standard deviation (lowest). No label was used in "
            "training or selection.",
            _scores_table(runs),
            "Accuracy against time, seed 0 (stage 1: k-means on the features, and the vote of the "
            f"{NEIGHBORS} nearest test images; stage 3: the averaged model):",
            _curve_table(runs[0]["curve"]),
        ]
    )
    write("cifar10", f"{NAME} from scratch", {"runs": runs}, body, slug=device_slug(options.device))


def _scores_table(runs: list[dict[str, Any]]) -> str:
    rows = [["test ACC"], ["test NMI"], ["test ARI"]]
    for row, name in zip(rows, ("acc", "nmi", "ari"), strict=True):
        row.append(spread([run["test"][name] for run in runs]))
    for number in (1, 2, 3):
        truth = [run["summary"]["truth"][f"stage{number}"]["acc"] for run in runs]
        rows.append([f"training images, stage {number} ACC", spread(truth)])
    rows.append(["reliable set, purity", spread([run["summary"]["truth"]["reliable_purity"] for run in runs])])
    rows.append(["reliable set, share", spread([run["summary"]["reliable"]["fraction"] for run in runs])])
    for name in ("stage1", "stage2", "stage3", "total"):
        seconds = [run["summary"]["seconds"][name] for run in runs]
        rows.append([f"seconds, {name}", spread(seconds, 1)])
    return table(["", "value"], rows)


def _curve_table(points: list[dict[str, Any]]) -> str:
    rows = [
        [
            f"{p['seconds']:,.0f}",
            p["stage"],
            f"{p['acc']:.3f}" if "acc" in p else "–",
            f"{p['neighbors']:.3f}" if "neighbors" in p else "–",
        ]
        for p in points
    ]
    return table(["seconds", "stage", "ACC", "neighbours' vote"], rows)
