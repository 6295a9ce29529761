"""python -m benchmarks NAME …: runs the named benchmarks; `cpu` and `app` stand for several.

`gpu` is one short sitting at a machine with a GPU; --only and --from apply only to it. `consumers` installs the
packages that open exports; --out applies to both.

A benchmark is imported only when it is named, because some need libraries that may not be installed.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import time
from pathlib import Path

from benchmarks.pieces import Options, OutOfTime
from benchmarks.report import COMMIT, provenance
from engine.errors import SpiceError, sentence_of

TAKES_OPTIONS = (
    "speed",
    "neighbors",
    "growth",
    "cifar10",
    "objectives",
    "ablations",
    "encoders",
    "estimates",
    "curation",
    "sources",
    "shapes",
    "long_tail",
    "selection",
    "photos",
    "gallery",
    "duplicates",
    "reviewer",
    "chaos",
    "predict",
    "gpu",
    "consumers",
)
SUITES = {
    "cpu": (
        "operations",
        "views",
        "digits",
        "shapes",
        "long_tail",
        "selection",
        "speed",
        "neighbors",
        "growth",
        "objectives",
        "ablations",
        "encoders",
        "estimates",
        "curation",
        "sources",
        "inputs",
        "cifar10",
        "photos",
        "duplicates",
        "chaos",
        "predict",
    ),
    "app": ("start", "ui", "gallery", "decisions", "reviewer", "lesson", "reports"),
}
# The number of images and of seeds, where a benchmark has its own.
OWN_DEFAULTS = {
    "photos": {"images": 10_000, "seeds": 5},
    "duplicates": {"images": 10_000, "seeds": 5},
    "long_tail": {"seeds": 5},
    "selection": {"seeds": 5},
    "gallery": {"images": 10_000},
    "growth": {"images": 1_000_000},
    "reviewer": {"seeds": 20},
}
NAMES = (*dict.fromkeys(name for suite in SUITES.values() for name in suite), "gpu", "consumers")


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    names = [one for name in options.names for one in SUITES.get(name, (name,))]
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        known = ", ".join([*SUITES, *NAMES])
        print(f"no benchmark {', '.join(unknown)}: choose from {known}", file=sys.stderr)
        return 2
    if options.commit:
        os.environ[COMMIT] = options.commit
    provenance()
    began = time.monotonic()
    try:
        for name in names:
            measure = importlib.import_module(f"benchmarks.{name}").measure
            measure(_asked(name, options, began)) if name in TAKES_OPTIONS else measure()
    except OutOfTime as left:
        print(f"time is up: {left}", file=sys.stderr)
        return 3
    except (SpiceError, OSError) as error:
        print(f"error: {sentence_of(error, 'the benchmark')}", file=sys.stderr)
        return 1
    return 0


def _asked(name: str, options: argparse.Namespace, began: float) -> Options:
    """The options of benchmark `name`; the time of all benchmarks together runs from `began`."""
    given = {key: getattr(options, key) for key in ("images", "seeds") if getattr(options, key) is not None}
    return Options(
        device=options.device,
        minutes=options.minutes,
        data=options.data,
        preset=options.preset,
        assignments=tuple(options.assignments),
        out=options.out,
        only=options.only,
        earlier=options.earlier,
        clothes=options.clothes,
        kills=options.kills,
        files=options.files,
        saves=options.saves,
        inputs=options.inputs,
        began=began,
        **{**OWN_DEFAULTS.get(name, {}), **given},
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help=", ".join([*SUITES, *NAMES]))
    parser.add_argument("--minutes", type=float, default=1e6, help="stop before this limit; run again to resume")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument("--data", type=Path, help="folder or archive of CIFAR-10 (JPEG q92)")
    parser.add_argument(
        "--clothes",
        type=Path,
        help="folder or archive of clothing-dataset-small, for photos and duplicates (default: in .data)",
    )
    parser.add_argument(
        "--images", type=int, help="number of CIFAR-10 images (default 5000, 50000 is all of them), or most of a set"
    )
    parser.add_argument("--seeds", type=int, help="default 3; 5 for photos and duplicates, 20 for reviewer")
    for name in ("kills", "files", "saves", "inputs"):
        parser.add_argument(f"--{name}", type=int, help="of chaos: how many are tried")
    parser.add_argument("--preset", default="quick", help="preset for cifar10, and for the photographs in ablations")
    parser.add_argument("--set", action="append", default=[], metavar="STAGE.FIELD=VALUE", dest="assignments")
    parser.add_argument("--commit", help="commit to name in the results, for code copied without its Git history")
    parser.add_argument("--out", type=Path, metavar="DIR", help="output folder of a sitting, or of consumers")
    parser.add_argument("--only", default="", help="parts of a sitting: check,speed,run")
    parser.add_argument(
        "--from",
        type=Path,
        metavar="FILE",
        dest="earlier",
        help="stage1.npz of an earlier sitting, used instead of training stage 1",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
