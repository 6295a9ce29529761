"""The command line's import-labels: labels that were edited elsewhere become decisions."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import RunError, printable

if TYPE_CHECKING:
    from engine.exports.command import Commands
    from engine.exports.returned import Preview


def add_import_labels(commands: Commands) -> None:
    """Adds `import-labels` to the command line."""
    parser = commands.add_parser(
        "import-labels",
        help="turn labels that were edited in another tool into decisions",
        description="Compare exported labels that were edited elsewhere with the run, and print what would change as "
        "one JSON object. --commit makes the changes decisions. Images that were decided in the run since the export, "
        "or may have been, are conflicts, which are only listed.",
    )
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("file", type=Path, metavar="FILE", nargs="?", help="the edited file or folder")
    parser.add_argument(
        "--format", default="csv", metavar="NAME", help="csv (default), parquet, folders, label-studio or fiftyone"
    )
    parser.add_argument("--reviewer", metavar="NAME", help="who decides (default: the name of the file)")
    parser.add_argument("--seen", action="store_true", help="somebody has looked at every image that changed")
    parser.add_argument(
        "--conflicts", action="store_true", help="also take the file's answer where there is a conflict"
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--commit", action="store_true", help="make the changes decisions")
    choice.add_argument("--undo", action="store_true", help="take back the last import of the reviewer, or of FILE")
    parser.set_defaults(command=_import_labels)


def _import_labels(options: argparse.Namespace) -> int:
    import numpy as np

    from engine.exports.edited import answers_in
    from engine.exports.labelled import labelled
    from engine.exports.returned import commit, preview, undo
    from engine.runs.folder import RunFolder
    from engine.runs.results import decision_log, observe

    folder = RunFolder(options.run)
    if options.file is None and not (options.undo and options.reviewer):
        raise RunError("the file is missing: name what was edited, or who is to be undone with --undo --reviewer NAME")
    reviewer = options.reviewer or options.file.resolve().name[-60:]
    with contextlib.closing(decision_log(folder)) as log:
        if options.undo:
            print(json.dumps({"reviewer": reviewer, "undone": undo(log, reviewer)}))
            return 0
        every = labelled(folder, observe(folder), log)
        seen = log.curation.row
        answers = answers_in(options.file, options.format, every)
        found = preview(every, answers, conflicts_too=options.conflicts)
        if options.seen:
            found = replace(found, looked=np.ones_like(found.looked))
        committed = commit(folder, found, log, reviewer, seen=seen) if options.commit else 0
    _tell(found, reviewer, committed, options)
    return 0


def _tell(found: Preview, reviewer: str, committed: int, options: argparse.Namespace) -> None:
    for one in found.conflicts:
        taken = "the file's is taken" if options.conflicts else "it stays"
        words = f"{one.here} here, by {one.reviewer}; {one.file} in the file, which does not know of that decision"
        print(printable(f"conflict: {one.image}: {words}: {taken}"), file=sys.stderr)
    told = {
        "reviewer": reviewer,
        "labels": found.answers,
        "changes": len(found.rows),
        "same": found.same,
        "conflicts": len(found.conflicts),
        "committed": committed,
    }
    print(json.dumps(told))
    if not options.commit and len(found.rows):
        print("nothing is changed yet: add --commit to decide so", file=sys.stderr)
