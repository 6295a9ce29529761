"""The command line's model and predict: a run's model as a file, and its labels for any images."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, TypeAlias

from engine.data.origin import FITS
from engine.errors import RunError, printable, sized
from engine.models.endings import ENDINGS

if TYPE_CHECKING:
    from engine.models.inputs import Asked
    from engine.models.model import Model
    from engine.models.rows import Writer
    from engine.models.tally import Tally

    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

# What a shell says of a program whose reader has gone.
PIPE_CLOSED = 141


def add_model(commands: Commands) -> None:
    """Adds `model` to the command line."""
    parser = commands.add_parser(
        "model",
        help="write a run's model to one file, with a model card",
        description="Write the newest model of a run: its networks with everything that is needed to use them, and a "
        "model card beside it (PATH.md).",
    )
    parser.add_argument("run", type=Path, metavar="DIR")
    parser.add_argument("--out", required=True, type=Path, metavar="PATH", help="the file to write")
    parser.add_argument(
        "--format",
        default="safetensors",
        choices=list(ENDINGS),
        help="safetensors (default), which predict reads on any device; or onnx, which takes uint8 pixels and is "
        "checked against torch",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace earlier files at PATH")
    parser.set_defaults(command=_model)


def add_predict(commands: Commands) -> None:
    """Adds `predict` to the command line."""
    parser = commands.add_parser(
        "predict",
        help="label images that a run has not seen",
        description="Print a row for each image: path, class, confidence, runner-up, distance from the run's own "
        "images, and whether the image is unknown: less confident or farther away than all but 1 in 100 of these. "
        "A file that cannot be read gets a row with the reason.",
    )
    parser.add_argument("model", type=Path, metavar="RUN|MODELFILE", help="a run's folder, or a file by model")
    parser.add_argument(
        "images",
        metavar="IMAGE|FOLDER|-",
        help="an image file, a folder or any other source that run takes, or - for paths on standard input",
    )
    parser.add_argument("--format", default="csv", choices=["csv", "jsonl"], help="csv (default) or JSON lines")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of to standard output")
    parser.add_argument("--fit", choices=FITS, help="how images become squares (default: as in the run)")
    parser.add_argument("--size", type=int, help="refuse models that take images of another side in pixels")
    parser.add_argument("--labels", action="store_true", help="score with the classes that come with the images")
    parser.add_argument("--root", metavar="DIR", help="the folder that a table's paths start from")
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 or mps")
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="in a CSV, put no quote before names that a spreadsheet would run as a formula, such as =1+1.png",
    )
    parser.set_defaults(command=_predict)


def _model(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from engine.models.model_file import write_model
    from engine.runs.folder import RunFolder

    folder = RunFolder(options.run)
    with tqdm(disable=None, leave=False, delay=1) as bar:

        def progress(part: str, done: int, total: int) -> None:
            bar.set_description(part, refresh=False)
            bar.total = total or None
            bar.update(done - bar.n)

        done = write_model(folder, options.format, options.out, overwrite=options.overwrite, progress=progress)
    for note in done.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    checked = "" if done.difference is None else f", at most {done.difference:.1g} from torch"
    print(f"{sized(done.size)} in {done.file}{checked}; its card in {done.card}", file=sys.stderr)
    return 0


def _predict(options: argparse.Namespace) -> int:
    from engine.models.inputs import asked
    from engine.models.open_model import open_model
    from engine.models.rows import Writer
    from engine.models.tally import Tally
    from engine.runs.runner import choose_device

    model = _as_asked(open_model(options.model, choose_device(options.device).device), options)
    found = asked(model, options.images, _paths(), labels=options.labels, root=options.root)
    counts = Tally(found.truth)
    try:
        with _file(options.out) as file:
            _write(found, model, Writer(file, options.format, guard=not options.no_guard), counts)
    except BrokenPipeError:
        # The reader has enough. Python would complain when it flushes what nobody takes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    print(counts.sentence(), file=sys.stderr)
    print(json.dumps(counts.summary()), file=sys.stderr if options.out is None else sys.stdout)
    return 0 if counts.images or not counts.unreadable else 1


def _as_asked(model: Model, options: argparse.Namespace) -> Model:
    about = model.about
    if options.size is not None and (options.size, options.size) != (about.width, about.height):
        raise RunError(f"--size is {options.size}, but {about.run} takes images of {about.width}×{about.height}")
    return model if options.fit is None else replace(model, about=replace(about, fit=options.fit))


def _paths() -> IO[str]:
    """Standard input; a path that is no valid text is kept as it is."""
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
    return sys.stdin


@contextlib.contextmanager
def _file(out: Path | None) -> Iterator[IO[str]]:
    """Where rows are written: standard output, or a file that is there completely or not at all."""
    if out is None:
        yield sys.stdout
        return
    if not out.name or out.is_dir():
        raise RunError(f"{out} is a folder: expected a file name")
    streamed = out.exists() and not out.is_file()  # a pipe or a terminal
    draft = out if streamed else out.with_name(f".spice-{os.getpid()}.tmp")
    try:
        with draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            yield file
        if not streamed:
            draft.replace(out)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}; choose another place") from None
    finally:
        if not streamed:
            draft.unlink(missing_ok=True)


def _write(found: Asked, model: Model, writer: Writer, counts: Tally) -> None:
    from tqdm import tqdm

    from engine.models.rows import of_skipped, rows_of

    # A bar would be mixed with the rows of a terminal.
    quiet = True if sys.stdout.isatty() else None
    with tqdm(total=found.total, desc="labelling", unit="image", disable=quiet, leave=False, delay=1) as bar:
        for told in found.told:
            writer.write(rows_of(told, model.about))
            counts.add(told)
            bar.update(len(told.names))
    writer.write(of_skipped(found.skipped))
    counts.unreadable += len(found.skipped)
