"""The command line's report: one HTML page about a run, to be sent to somebody else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from engine.errors import sized

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_report(commands: Commands) -> None:
    """Adds `report` to the command line."""
    parser = commands.add_parser(
        "report",
        help="write a report on a run: one HTML file that works offline",
        description="Write one HTML file with the map, clusters, prototypes, scores, decisions and settings of a run. "
        "It needs no network and opens on any computer or phone. While the run is still training, it shows the last "
        "finished stage; after stage 1 alone, the clusters of k-means, which nothing has judged.",
    )
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html")
    parser.add_argument("--map", action="store_true", help="compute the UMAP first, if the run has none yet")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier file of that name")
    parser.set_defaults(command=_report)


def _report(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from engine.report.report import write_report
    from engine.runs.folder import RunFolder

    with tqdm(total=1.0, disable=None, leave=False, delay=1) as bar:

        def progress(part: str, done: float) -> None:
            bar.set_description(part, refresh=False)
            bar.update(done - bar.n)

        size = write_report(
            RunFolder(options.run), options.out, overwrite=options.overwrite, umap=options.map, progress=progress
        )
    print(f"{sized(size)} in {options.out}", file=sys.stderr)
    return 0
