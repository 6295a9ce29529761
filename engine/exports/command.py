"""The command line's export: the labels of a run, for other tools."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.errors import printable

if TYPE_CHECKING:
    from engine.exports.export import Exported

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]


def add_export(commands: Commands) -> None:
    """Adds `export` to the command line."""
    parser = commands.add_parser(
        "export",
        help="export the labels of a run, with images, for other tools",
        description="Export the newest labels of a run. Excluded images are in no export. While the run is still "
        "training, its last finished stage is exported.",
    )
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the file or folder to write")
    parser.add_argument("--format", default="csv", metavar="NAME", help="csv (default), or another of --formats")
    parser.add_argument("--formats", action=_Formats, help="list all formats with what they write, and exit")
    parser.add_argument(
        "--scope",
        default="all",
        metavar="reliable|decided|all|class:NAME",
        help="which images: with reliable labels, decided by a person, all (default), or of one class",
    )
    parser.add_argument(
        "--split",
        default="",
        metavar="80,10,10",
        help="shares in percent of training, validation and test images (or of training and test images), of each "
        "class; duplicates stay together",
    )
    how = parser.add_mutually_exclusive_group()
    for one, meaning in HOW.items():
        how.add_argument(f"--{one}", dest="how", action="store_const", const=one, help=meaning)
    parser.add_argument(
        "--pictures",
        default="originals",
        choices=["originals", "pixels", "either"],
        help="the originals (default), the pixels that were trained on, or these only where an original is gone",
    )
    parser.add_argument(
        "--hash",
        default="pixels",
        choices=["pixels", "original"],
        help="what tables have a hash of: the pixels that were trained on (default), or also, as original_sha256, the "
        "bytes of each original, for which all of them are read",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier file or export at PATH")
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="in a CSV, put no quote before names that a spreadsheet would run as a formula, such as =1+1.png",
    )
    parser.set_defaults(command=_export, how="copy")


HOW = {
    "copy": "copy the originals (default)",
    "hardlink": "make hard links to the originals, which take no space; the system notes a change of each original, so "
    "that it is decoded again at the next import",
    "symlink": "make symbolic links to the originals, which end when these are moved",
}


class _Formats(argparse.Action):
    """Lists the formats; they are imported only now, because the command line's help must not wait for them."""

    def __init__(self, option_strings: Sequence[str], dest: str, **known: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **known)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from engine.exports.format import known_formats

        for one in known_formats().values():
            print(f"{one.name:<14}{one.writes}")
        parser.exit()


def _export(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from engine.exports.export import Asked, export_run
    from engine.runs.folder import RunFolder
    from engine.runs.results import decision_log

    folder = RunFolder(options.run)
    asked = Asked(
        options.format,
        options.out,
        options.scope,
        split=options.split,
        how=options.how,
        pictures=options.pictures,
        hash=options.hash,
        guard=not options.no_guard,
        overwrite=options.overwrite,
    )
    with contextlib.closing(decision_log(folder)) as log, tqdm(disable=None, leave=False, delay=1) as bar:

        def progress(part: str, done: int, total: int) -> None:
            bar.set_description(part, refresh=False)
            bar.total = total
            bar.update(done - bar.n)

        done = export_run(folder, asked, log, progress=progress)
    _tell(done)
    return 0


def _tell(done: Exported) -> None:
    from engine.exports.labelled import dropped_words

    for note in done.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    said = ", ".join(f"{count:,} {name}" for name, count in done.provenance.items() if count)
    without = f", without {dropped_words(done.dropped)}" if done.dropped else ""
    print(
        f"{done.images:,} labels, {done.reliable:,} reliable, given by: {said}; in {done.out}{without}", file=sys.stderr
    )
