"""Writes results, each with its date, commit, device and library versions."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
DECIDING = ("--images", "--seeds", "--preset", "--set", "--kills", "--files", "--saves")
COMMIT = "SPICE_COMMIT"
ROOT = Path(__file__).parents[1]
LIBRARIES = ("torch", "torchvision", "scikit-learn", "umap-learn", "faiss-cpu", "kornia", "pillow", "timm")


@cache
def provenance() -> dict[str, Any]:
    """Date, commit, device and library versions at the first call.

    Call it before measuring: the figures must not be attributed to a commit made meanwhile. If the code
    was copied without its Git history, the environment variable SPICE_COMMIT (or --commit) gives the commit.
    """
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    return {
        "date": date.today().isoformat(),
        "commit": os.environ.get(COMMIT) or _commit(),
        "device": f"{device}, {os.cpu_count()} CPU cores ({platform.machine()})",
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
    }


def device_slug(device: str) -> str:
    """ "cpu", or the model of the GPU for file names, such as "h100"."""
    import torch

    if device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    words = torch.cuda.get_device_name().lower().replace("-", " ").split()
    return next((word for word in words if any(c.isdigit() for c in word)), "gpu")


def _processor() -> str:
    """The name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration, IndexError):
        name = platform.processor()
    return f"CPU {name}".strip()


def _git(*arguments: str) -> str:
    """The output of git, or "" if there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-c", "safe.directory=*", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def engine_version() -> str:
    """The version of the engine: git's hash of its folder, with a mark for uncommitted changes."""
    version = _git("rev-parse", "--short", "HEAD:engine") or "unknown"
    return version + ("+changes" if _git("status", "--porcelain", "--", "engine") else "")


def _commit() -> str:
    return (_git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if _dirty() else "")


def _dirty() -> bool:
    return bool(_git("status", "--porcelain", "--", "engine", "benchmarks/*.py"))


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def spread(values: Sequence[float], digits: int = 3) -> str:
    """ "mean ± standard deviation (lowest)", or the value alone if there is only one."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    mean, deviation = statistics.mean(values), statistics.stdev(values)
    return f"{mean:.{digits}f} ± {deviation:.{digits}f} ({min(values):.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _asked(name: str) -> str:
    """The benchmark with the options that affect what is measured."""
    words = sys.argv[1:] if Path(sys.argv[0]).parent.name == "benchmarks" else []
    pairs = list(itertools.pairwise(words))
    kept = [word for pair in pairs if pair[0] in DECIDING for word in pair]
    return shlex.join([name, *kept])


def write(name: str, title: str, data: dict[str, Any], body: str, *, slug: str = "") -> None:
    """Writes results/NAME.json and results/NAME.md; `slug` names the device if the result depends on it."""
    command, name = f"python -m benchmarks {_asked(name)}", f"{name}-{slug}" if slug else name
    RESULTS.mkdir(exist_ok=True)
    about = provenance()
    (RESULTS / f"{name}.json").write_text(json.dumps({**about, **data}, indent=1) + "\n")
    libraries = ", ".join(f"{key} {value}" for key, value in about["libraries"].items() if value)
    text = (
        f"# {title}\n\n{body}\n\nMeasured {about['date']} at commit {about['commit']} on "
        f"{about['device']}, Python {about['python']}, {libraries}. "
        f"Repeat with `{command}`.\n"
    )
    (RESULTS / f"{name}.md").write_text(text)
    print(text)
