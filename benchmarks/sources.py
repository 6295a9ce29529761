"""For every kind of source: how fast is an import, and how accurate are forecasts?

Each forecast is made by a probe in a new process, as on the command line; then that run is trained in
another process. Seconds are those of training; memory is the growth of the process, without libraries.
"""

from __future__ import annotations

import importlib
import resource
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cifar10_images import NAME, cifar10_images
from benchmarks.imports import apart, imports, imports_body
from benchmarks.pieces import Options, Pieces
from benchmarks.report import device_slug, spread, table, write
from engine.config import RunConfig, override
from engine.data.images import ImageSet
from engine.errors import TrainingError
from engine.presets import preset
from engine.sources.open_source import Opened, open_source

DRAWN, SIDE, CLUSTERS = 3000, 32, 10
# The goal: a forecast is too long or too short by at most this factor.
GOAL = 1.5
# Shortens runs on colour images of 32 pixels from a quarter of an hour to a minute or two.
SHORT = ("features.epochs=3", "heads.epochs=3", "joint.steps=30", "reliable.confidence=0.1")
SETTINGS: dict[str, tuple[str, ...]] = {"digits": (), "drawn": SHORT, NAME: SHORT}
PROBE_SECONDS, RUN_SECONDS = 10.0, 300.0


def opened(options: Options, name: str) -> Opened:
    """The images called `name`."""
    if name == "digits":
        return open_source("digits")
    if name == NAME:
        return cifar10_images(options, "train", options.images)
    pixels = np.random.default_rng(0).integers(0, 256, (DRAWN, 3, SIDE, SIDE), dtype=np.uint8)
    return Opened(ImageSet(pixels, tuple(map(str, range(DRAWN))), "drawn"))


def configured(options: Options, name: str, channels: int, seed: int) -> RunConfig:
    config = preset(options.preset, clusters=CLUSTERS, channels=channels, seed=seed)
    return override(config, *SETTINGS[name], *options.assignments)


def foretold(options: Options, name: str, seed: int) -> dict[str, Any]:
    """The forecast of a run, as JSON."""
    from engine.forecast.forecast import forecast
    from engine.forecast.probe import probe
    from engine.runs.kept_forecast import to_json
    from engine.runs.runner import choose_device

    images = opened(options, name).images
    config = configured(options, name, images.channels, seed)
    costs = probe(images, [config], choose_device(options.device).device, seconds=PROBE_SECONDS)
    return to_json(forecast(config, costs[0]))


def trained(options: Options, name: str, seed: int) -> dict[str, Any]:
    """The actual cost of the run: seconds by stage, bytes of memory and disk."""
    from engine.forecast.timing import resident_bytes
    from engine.jobs import Control
    from engine.runs.create import create_run
    from engine.runs.results import observe, summary
    from engine.runs.runner import choose_device, execute

    images = opened(options, name)
    with tempfile.TemporaryDirectory() as place:
        config = configured(options, name, images.images.channels, seed)
        folder = create_run(Path(place) / "run", images, config)
        for library in ("engine.runs.pipeline", "sklearn.cluster", "sklearn.metrics", "scipy.optimize"):
            importlib.import_module(library)
        before = resident_bytes()
        with folder.lock():
            state = execute(folder, choose_device(options.device), Control())
        if state != "finished":
            raise TrainingError(observe(folder).message)
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        disk = sum(file.stat().st_size for file in folder.path.rglob("*") if file.is_file())
        seconds = summary(folder, observe(folder))["seconds"]
    return {"seconds": seconds, "memory": peak - before, "disk": disk}


def forecasts(options: Options, pieces: Pieces) -> dict[str, list[dict[str, Any]]]:
    """Forecast and actual cost by source, one pair per seed; photographs only if --data names them."""
    names = [name for name in SETTINGS if name != NAME or options.data is not None]

    def both(name: str, seed: int) -> dict[str, Any]:
        asked = options, name, seed
        return {"forecast": apart(foretold, *asked), "took": apart(trained, *asked)}

    return {
        name: [
            pieces.get(f"forecast {name} seed {seed}", lambda n=name, s=seed: both(n, s), seconds=RUN_SECONDS)
            for seed in range(options.seeds)
        ]
        for name in names
    }


def error_of(pair: dict[str, Any]) -> float:
    """The factor by which the forecast was too long or too short, at least 1."""
    ratio = pair["forecast"]["total"] / pair["took"]["seconds"]["total"]
    return max(ratio, 1 / ratio)


def measure(options: Options) -> None:
    """Writes results/sources-DEVICE."""
    pieces = Pieces("sources", options)
    found: dict[str, Any] = {} if options.data is None else {"imports": imports(options, pieces)}
    found["forecasts"] = forecasts(options, pieces)
    parts = [imports_body(found["imports"])] if "imports" in found else []
    body = "\n\n".join([*parts, forecast_body(options, found["forecasts"])])
    write("sources", "Sources", found, body, slug=device_slug(options.device))


def forecast_body(options: Options, found: dict[str, list[dict[str, Any]]]) -> str:
    """The section on forecasts: a table and its explanation."""
    worst = max(error_of(pair) for pairs in found.values() for pair in pairs)
    short = ", ".join(SHORT)
    return "\n\n".join(
        [
            "## Forecasts",
            forecast_table(found),
            f"Mean ± standard deviation (lowest) over {options.seeds} seeds. “off by” is the factor by "
            f"which the worst of these forecasts was too long or too short; the largest of all is "
            f"{worst:.2f} (goal: {GOAL}). K = {CLUSTERS}, preset `{options.preset}`, shortened for all "
            f"but the digits ({short}). Each forecast is made by a probe of about ten seconds in a new "
            "process, and the run is trained in another.",
        ]
    )


def forecast_table(found: dict[str, list[dict[str, Any]]]) -> str:
    rows = []
    for name, pairs in found.items():
        ahead, took = [one["forecast"] for one in pairs], [one["took"] for one in pairs]
        within = sum(a["low"] <= t["seconds"]["total"] <= a["high"] for a, t in zip(ahead, took, strict=True))
        rows.append(
            [
                name,
                spread([one["total"] for one in ahead], 0),
                f"{statistics.mean(one['low'] for one in ahead):.0f} to "
                f"{statistics.mean(one['high'] for one in ahead):.0f}",
                spread([one["seconds"]["total"] for one in took], 0),
                f"{max(map(error_of, pairs)):.2f} ×",
                f"{within} of {len(pairs)}",
                *(f"{_mean(ahead, what):.0f} / {_mean(took, what):.0f}" for what in ("memory", "disk")),
            ]
        )
    return table(
        [
            "source",
            "forecast, s",
            "range, s",
            "took, s",
            "off by",
            "within its range",
            "memory, MB (forecast / took)",
            "disk, MB (forecast / took)",
        ],
        rows,
    )


def _mean(of: list[dict[str, Any]], what: str) -> float:
    return statistics.mean(one[what] for one in of) / 1e6
