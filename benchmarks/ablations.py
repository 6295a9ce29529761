"""How the defaults of stage 3 were chosen: one setting is changed at a time.

For each seed, all variants start from the same stages 1 and 2. Ground truth is used only to score.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.cifar10 import configured
from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine.config import RunConfig, with_settings
from engine.jobs import Control
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import observe, summary
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened, open_source

THRESHOLDS: dict[str, dict[str, Any]] = {
    "FixMatch (fixed .95)": {"joint.adapt": "fixed"},
    "FlexMatch (our default)": {"joint.adapt": "flex"},
    "FreeMatch": {"joint.adapt": "free"},
    "SoftMatch": {"joint.adapt": "soft"},
    "FlexMatch, reliable set reselected 3 times": {"joint.adapt": "flex", "joint.reselect": 3},
    "SoftMatch, reliable set reselected 3 times": {"joint.adapt": "soft", "joint.reselect": 3},
    "FixMatch, random start": {"joint.adapt": "fixed", "joint.start": "random"},
}
ALIKE = ("features", "neighbors", "heads", "reliable-heads")


def trained(folder: Path, opened: Opened, config: RunConfig, device: str) -> dict[str, Any]:
    """Trains the run in `folder`, or resumes it; returns its summary."""
    run = RunFolder(folder)
    if not run.exists:
        run = create_run(folder, opened, config)
    with run.lock():
        state = execute(run, choose_device(device), Control())
    if state != "finished":
        raise RuntimeError(f"{folder.name}: {observe(run).message or state}")
    return summary(run, observe(run))


def branched(base: Path, folder: Path, opened: Opened, config: RunConfig, device: str) -> dict[str, Any]:
    """Trains stage 3 from stages 1 and 2 of the finished run in `base`; its folder is deleted afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    run = create_run(folder, opened, config)
    for artefact in ALIKE:
        shutil.copytree(base / artefact, run.path / artefact)
    found = trained(folder, opened, config, device)
    shutil.rmtree(folder)
    return found


def of_thresholds(
    opened: Opened, base: Callable[[int], RunConfig], pieces: Pieces, options: Options, name: str
) -> dict[str, list[dict[str, Any]]]:
    """Every variant of stage 3 for every seed, with one common start per seed."""
    found: dict[str, list[dict[str, Any]]] = {"stage 2": []}
    for seed in range(options.seeds):
        start = pieces.folder / f"{name}-{seed}"
        found["stage 2"].append(
            pieces.get(
                f"{name} start {seed}", lambda s=seed, p=start: trained(p, opened, base(s), options.device), seconds=120
            )
        )
        for title, changes in THRESHOLDS.items():
            config = with_settings(base(seed), changes)
            found.setdefault(title, []).append(
                pieces.get(
                    f"{name} {title} {seed}",
                    lambda c=config, p=start: branched(p, p.with_name(f"{p.name}-branch"), opened, c, options.device),
                    seconds=90,
                )
            )
    return found


def measure(options: Options) -> None:
    """Writes results/ablations-DEVICE."""
    pieces = Pieces("ablations", options)
    digits = open_source("digits")
    sets: dict[str, tuple[Opened, Callable[[int], RunConfig]]] = {
        "digits": (digits, lambda seed: preset("quick", clusters=10, channels=1, seed=seed))
    }
    if options.images:
        subset = cifar10_images(options, "train", options.images)
        sets[f"{NAME}, {len(subset.images):,} images"] = subset, lambda seed: configured(options, seed)
    parts, data = [], {}
    for number, (title, (opened, base)) in enumerate(sets.items()):
        found = of_thresholds(opened, base, pieces, options, f"set{number}")
        data[title] = found
        parts.append(f"**{title}**\n\n{_thresholds_table(found)}")
    body = (
        f"Stage 3 from the same stages 1 and 2, {options.seeds} seeds: accuracy on the training "
        "images, mean ± standard deviation (lowest), and the gain from stage 3.\n\n" + "\n\n".join(parts)
    )
    write("ablations", "Variants of stage 3", data, body, slug=device_slug(options.device))


def _thresholds_table(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    before = [one["truth"]["stage2"]["acc"] for one in found["stage 2"]]
    rows.append(["stage 2 alone", spread(before), ""])
    for title, runs in found.items():
        if title == "stage 2":
            continue
        after = [one["truth"]["stage3"]["acc"] for one in runs]
        gain = [a - b for a, b in zip(after, before, strict=True)]
        rows.append([title, spread(after), spread(gain)])
    return table(["stage 3", "ACC", "gain over stage 2"], rows)
