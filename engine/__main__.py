"""The command line: import, health, run, forecast, show, export, import-labels, report, predict, map, replay, trials,
encoder.

Messages go to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.config import RunConfig, override
from engine.data.origin import FITS
from engine.errors import RunError, SpiceError, printable, sentence_of, sized
from engine.exports.command import add_export
from engine.exports.return_command import add_import_labels
from engine.presets import preset
from engine.report.command import add_report

if TYPE_CHECKING:
    from engine.data.images import ImageSet
    from engine.data.origin import Fit
    from engine.data.skipped import Skipped
    from engine.jobs import Control
    from engine.runs.folder import RunFolder
    from engine.sources.open_source import Opened

    _Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

INTERRUPTED = 130
# Forecast these presets unless others are named.
USUAL_PRESETS = ("quick", "fast", "paper")


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns 0, 1 for an error the user can fix, or 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what its encoding lacks is escaped
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (SpiceError, OSError) as error:
        print(printable(f"error: {sentence_of(error, options.command.__name__)}"), file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engine", description="Cluster unlabelled images with SPICE.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (
        _add_run,
        _add_import,
        _add_health,
        _add_forecast,
        _add_show,
        add_export,
        add_import_labels,
        add_report,
        _add_predict,
        _add_map,
        _add_replay,
        _add_trials,
        _add_encoder,
    ):
        add(commands)
    return parser


def _add_run(commands: _Commands) -> None:
    parser = commands.add_parser(
        "run",
        help="train the three stages",
        description="Train the three stages. Images that were excluded from this source, on the Dataset "
        "page or by the command health, are not used.",
    )
    _add_source(parser)
    parser.add_argument("--clusters", type=int, help="number of clusters K")
    parser.add_argument(
        "--preset",
        help="quick (default), photos, fast, paper, shapes (for the built-in shapes), or the authors' settings "
        "for one of the paper's six sets, such as paper-stl10",
    )
    parser.add_argument("--run", required=True, type=Path, metavar="DIR", help="the run's folder")
    seed = parser.add_mutually_exclusive_group()
    seed.add_argument("--seed", type=int, help="seed of every random choice (default 0)")
    seed.add_argument(
        "--seeds",
        metavar="0-4",
        help="train one run for each seed (0-4, or 0,3,7) in DIR/seed-N, in parallel on a GPU; prints one line of "
        "JSON for each, then one with mean and spread",
    )
    parser.add_argument("--resume", action="store_true", help="resume the stopped or interrupted run in DIR")
    parser.add_argument("--all-images", action="store_true", help="also train on excluded images")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.FIELD=VALUE",
        dest="assignments",
        help="change one setting; may be given several times",
    )
    parser.set_defaults(command=_run)


def _add_import(commands: _Commands) -> None:
    parser = commands.add_parser(
        "import", help="read the images of a source into the cache, so that they open instantly"
    )
    _add_images(parser)
    parser.set_defaults(command=_import)


def _add_health(commands: _Commands) -> None:
    parser = commands.add_parser(
        "health",
        help="find problems in the images of a source",
        description="List unreadable, duplicate, dark, bright, blurred, blank and outlying images, worst "
        "first. --exclude keeps one image of each group of duplicates. The source remembers excluded "
        "images, and the command run skips them.",
    )
    _add_images(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--exclude",
        metavar="FINDING,…",
        help="exclude images before training: exact-duplicates, near-duplicates, dark, bright, "
        "blurred, blank, odd-aspect, outliers",
    )
    choice.add_argument("--undo", action="store_true", help="undo the last change")
    parser.set_defaults(command=_health)


def _add_forecast(commands: _Commands) -> None:
    parser = commands.add_parser("forecast", help="estimate how long a run would take on this machine, and its memory")
    _add_source(parser)
    parser.add_argument("--clusters", type=int, required=True, help="number of clusters K")
    parser.add_argument(
        "--preset", action="append", metavar="NAME", help="may be given several times (default: quick, fast and paper)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="STAGE.FIELD=VALUE",
        dest="assignments",
        help="change one setting of each preset; may be given several times",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.set_defaults(command=_forecast)


def _of_run(commands: _Commands, name: str, help: str) -> argparse.ArgumentParser:
    """The parser of a command that is given a run's folder."""
    parser = commands.add_parser(name, help=help)
    parser.add_argument("run", type=Path, metavar="DIR")
    return parser


def _add_show(commands: _Commands) -> None:
    parser = _of_run(commands, "show", help="show a run's state and scores")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line")
    parser.set_defaults(command=_show)


def _add_predict(commands: _Commands) -> None:
    parser = _of_run(commands, "predict", help="label images that a run has not seen")
    _add_source(parser)
    _add_format(parser)
    parser.set_defaults(command=_predict)


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--format",
        choices=["csv", "jsonl", "parquet"],
        default="csv",
        help="csv (default), or jsonl or parquet for programs, where every name is as it is",
    )
    parser.add_argument(
        "--no-guard",
        action="store_true",
        help="in a CSV, put no quote before names that a spreadsheet would run as a formula, such as =1+1.png",
    )


def _add_map(commands: _Commands) -> None:
    parser = _of_run(commands, "map", help="compute the UMAP of a run's features, for the app's Map page")
    parser.add_argument("--neighbors", type=int, default=15, help="UMAP's n_neighbors (default 15)")
    parser.add_argument("--min-dist", type=float, default=0.1, help="UMAP's min_dist (default 0.1)")
    parser.add_argument("--replay", action="store_true", help="also map each stage's frames, for the replay")
    parser.set_defaults(command=_map)


def _add_replay(commands: _Commands) -> None:
    parser = _of_run(commands, "replay", help="write the lesson file of a run: one HTML file that works offline")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.html")
    parser.set_defaults(command=_replay)


def _add_trials(commands: _Commands) -> None:
    parser = _of_run(commands, "trials", help="train the short failure examples used by the lesson")
    parser.set_defaults(command=_trials)


def _add_encoder(commands: _Commands) -> None:
    parser = _of_run(commands, "encoder", help="save a run's stage-1 encoder for use in other runs")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.pt")
    parser.set_defaults(command=_encoder)


def _add_source(parser: argparse.ArgumentParser) -> None:
    _add_images(parser)
    parser.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1 (the second GPU) or mps")


def _add_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        help="digits or shapes (built in); the path of a folder, zip, tar, table (CSV, Parquet) or array (npy, npz); "
        "webdataset:PATH; or a set by name, such as cifar10, alone or with its folder: cifar10:PATH",
    )
    parser.add_argument("--size", type=int, help="scale images to this side in pixels (default 32, or the set's)")
    parser.add_argument(
        "--fit",
        choices=FITS,
        help="how images become squares: their middle (crop), all of them on a border (pad), or all of them "
        "without regard to their aspect (squeeze); default: as in the run, else crop",
    )
    parser.add_argument(
        "--labels",
        action="store_true",
        help="use the classes that come with the images (class folders, a column label, .cls files, "
        "an array y) as ground truth, for scores only",
    )
    parser.add_argument(
        "--root", metavar="DIR", help="the folder that a table's paths start from (default: the table's folder)"
    )


def _run(options: argparse.Namespace) -> int:
    from engine.jobs import Control
    from engine.runs.runner import choose_device, execute

    if options.seeds is not None:
        return _run_several(options)
    # A run reports through its events; without a handler, its log would also appear on stderr.
    logging.getLogger("engine").addHandler(logging.NullHandler())
    device = choose_device(options.device)
    folder = _prepared(options)
    if device.note:
        print(f"note: {device.note}", file=sys.stderr)
    control = Control()
    with folder.lock(), _Console(folder), _stopped_by_signals(control):
        state = execute(folder, device, control)
    snapshot = _summary(folder)
    if state == "failed":
        print(f"error: {snapshot.get('message', 'the run failed')}", file=sys.stderr)
    elif state == "stopped":
        print("stopped; add --resume to resume", file=sys.stderr)
    print(json.dumps(snapshot))
    return {"finished": 0, "stopped": INTERRUPTED}.get(state, 1)


def _run_several(options: argparse.Namespace) -> int:
    """Trains one run per seed; prints a line of JSON for each as it ends, and one for all of them."""
    from engine.jobs import Control
    from engine.runs.runner import choose_device
    from engine.runs.several import seeds_of, together, train_all

    logging.getLogger("engine").addHandler(logging.NullHandler())
    device, seeds = choose_device(options.device), seeds_of(options.seeds)
    asked = [
        argparse.Namespace(**{**vars(options), "run": options.run / f"seed-{seed}", "seed": seed}) for seed in seeds
    ]
    for one in asked:
        _check_asked(one)
    opened = _opened(options)
    folders = [_folder(one, opened) for one in asked]
    if device.note:
        print(f"note: {device.note}", file=sys.stderr)
    controls = [Control() for _ in folders]
    summaries: list[dict[str, Any]] = []

    def ended(folder: RunFolder, state: str) -> None:
        summaries.append(_summary(folder))
        print(json.dumps(summaries[-1]), flush=True)
        print(f"{folder.path.name} {state}: {len(summaries)} of {len(folders)}", file=sys.stderr)

    with _stopped_by_signals(*controls):
        train_all(folders, device, controls, ended)
    finished = [one for one in summaries if one["state"] == "finished"]
    states = {one["state"] for one in summaries}
    print(json.dumps({"seeds": list(seeds), "finished": len(finished), "scores": together(finished)}))
    if "stopped" in states:
        print("stopped; add --resume to resume", file=sys.stderr)
    return 1 if "failed" in states else INTERRUPTED if "stopped" in states else 0


@contextlib.contextmanager
def _stopped_by_signals(*controls: Control) -> Iterator[None]:
    """Inside this context, an interrupt stops the runs between two steps, and a second one immediately."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, _frame: object) -> None:
        for control in controls:
            control.stop()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _prepared(options: argparse.Namespace) -> RunFolder:
    """The run folder to train: a new one, or the existing one with --resume."""
    _check_asked(options)
    return _folder(options, _opened(options))


def _check_asked(options: argparse.Namespace) -> None:
    """Raises RunError when the options do not allow starting or resuming the run."""
    from engine.runs.folder import RunFolder

    folder = RunFolder(options.run)
    if options.resume and not folder.exists:
        raise RunError(f"{folder.path} contains no run to resume: leave out --resume to start one")
    if folder.exists and not options.resume:
        raise RunError(f"{folder.path} already contains a run: add --resume or choose another folder")
    own = (options.preset or "").startswith("paper-")  # a set of the paper has its own number
    if not folder.exists and options.clusters is None and not own:
        raise RunError("the number of clusters is missing: add --clusters K")


def _folder(options: argparse.Namespace, opened: Opened) -> RunFolder:
    from engine.runs.create import create_run
    from engine.runs.folder import RunFolder

    folder = RunFolder(options.run)
    if folder.exists:
        _check_same(folder, _as_begun(folder, opened), options)
        return folder
    opened, excluded = _left_in(opened, options)
    config = _config(options, opened.images.channels)
    return create_run(options.run, opened, config, excluded)


def _left_in(opened: Opened, options: argparse.Namespace) -> tuple[Opened, tuple[Skipped, ...]]:
    """The images to train on, and those that were excluded."""
    from engine.health.exclusions import without_excluded

    if options.all_images:
        return opened, ()
    opened, excluded = without_excluded(opened)
    if excluded:
        count = len(opened.images) + len(excluded)
        print(
            f"note: {len(excluded):,} of {count:,} images of this source are excluded; --all-images trains on them too",
            file=sys.stderr,
        )
    return opened, excluded


def _as_begun(folder: RunFolder, opened: Opened) -> Opened:
    """The source without the images that were excluded when the run started, regardless of later changes."""
    from engine.health.exclusions import without

    excluded = {one.name for one in folder.card().excluded}
    return without(opened, excluded) if excluded else opened


def _opened(options: argparse.Namespace) -> Opened:
    from tqdm import tqdm

    from engine.sources.open_source import open_source

    with tqdm(desc="reading images", unit="image", disable=None, leave=False, delay=1) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        def waiting(waits: bool) -> None:
            if waits:
                print("note: another import of these images is running or paused; waiting for it", file=sys.stderr)

        opened = open_source(
            options.source,
            size=options.size,
            labels=options.labels,
            root=options.root,
            fit=options.fit or _fit_of_run(options),
            progress=progress,
            waiting=waiting,
        )
    for one in opened.skipped:
        print(printable(f"skipped {one.name}: {one.reason}"), file=sys.stderr)
    for note in opened.notes:
        print(printable(f"note: {note}"), file=sys.stderr)
    return opened


def _fit_of_run(options: argparse.Namespace) -> Fit:
    """How the images of the run that is resumed or predicts became squares; else the default."""
    from engine.runs.folder import RunFolder

    folder = RunFolder(options.run) if hasattr(options, "run") else None
    origin = folder.card().origin if folder is not None and folder.exists else None
    return "crop" if origin is None else origin.fit


def _health(options: argparse.Namespace) -> int:
    from engine.health.exclusions import Exclusions
    from engine.health.reports import exclude_found, findings_named, health_of, lines, summary

    asked = findings_named(options.exclude or "")
    opened = _opened(options)
    health = health_of(opened)
    with contextlib.closing(Exclusions(opened.images)) as decided:
        if options.undo:
            decided.undo("command line")
        exclude_found(health, decided, asked)
        found = summary(opened, health, decided.kept)
    print(json.dumps(found) if options.json else "\n".join(map(printable, lines(found))))
    return 0


def _config(options: argparse.Namespace, channels: int) -> RunConfig:
    name, seed = options.preset or "quick", options.seed or 0
    config = preset(name, clusters=options.clusters, channels=channels, seed=seed)
    return override(config, *options.assignments)


def _check_same(folder: RunFolder, opened: Opened, options: argparse.Namespace) -> None:
    """A run resumes only with its own images and settings; raises RunError for others."""
    card = folder.card()
    if card.fingerprint != opened.images.fingerprint:
        raise RunError(
            f"{folder.path} was trained on different images ({_described(folder.images())}) from these "
            f"({_described(opened.images)}): give its source, --size and --fit, or choose another run folder"
        )
    named = {name: getattr(options, name) for name in ("clusters", "preset", "seed")}
    config = replace(card.config, **{k: value for k, value in named.items() if value is not None})
    config = override(config, *options.assignments)
    if config != card.config:
        raise RunError(
            f"{folder.path} was started with other settings: a run cannot change its settings when it is "
            "resumed; choose another run folder"
        )


def _described(images: ImageSet) -> str:
    height, width = images.size
    return f"{images.source}, {len(images)} images of {width}×{height}"


class _Console:
    """A progress bar on stderr, drawn from the run's events by a thread that runs during training."""

    def __init__(self, folder: RunFolder) -> None:
        import threading

        self._folder, self._done = folder, threading.Event()
        self._offset = folder.records()[1]
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _follow(self) -> None:
        from tqdm import tqdm

        from engine.events import Alarm, Progress, StageFinished, StageStarted

        bar = None
        while True:
            last = self._done.wait(0.25)
            records, self._offset = self._folder.records(self._offset)
            for event in (record.event for record in records):
                if isinstance(event, StageStarted):
                    bar = tqdm(total=event.steps, desc=f"{event.stage:>8}", unit="step")
                elif isinstance(event, Progress) and bar is not None:
                    bar.n = event.step
                    bar.set_postfix({name: f"{loss:.3f}" for name, loss in event.losses.items()})
                elif isinstance(event, StageFinished) and bar is not None:
                    bar.close()
                elif isinstance(event, Alarm):
                    tqdm.write(f"note: {event.cause}: {event.cure}", file=sys.stderr)
            if last:
                return


def _summary(folder: RunFolder) -> dict[str, Any]:
    from engine.runs.results import observe, summary

    return summary(folder, observe(folder))


def _import(options: argparse.Namespace) -> int:
    opened = _opened(options)
    height, width = opened.images.size
    found = {
        "images": len(opened.images),
        "width": width,
        "height": height,
        "channels": opened.images.channels,
        "skipped": len(opened.skipped),
        "classes": len(opened.truth.class_names) if opened.truth else None,
        "columns": [one.title for one in opened.columns],
        "fingerprint": opened.images.fingerprint,
        **({"notes": opened.notes} if opened.notes else {}),
    }
    print(json.dumps(found))
    return 0


def _forecast(options: argparse.Namespace) -> int:
    from engine.forecast.forecast import forecast, table
    from engine.forecast.probe import probe
    from engine.forecast.timing import free_bytes
    from engine.runs.kept_forecast import to_json
    from engine.runs.runner import choose_device

    device, opened = choose_device(options.device), _opened(options)
    if device.note:
        print(f"note: {device.note}", file=sys.stderr)
    settings = {"clusters": options.clusters, "channels": opened.images.channels}
    names = list(dict.fromkeys(options.preset or USUAL_PRESETS))
    configs = [override(preset(name, **settings), *options.assignments) for name in names]
    free = free_bytes(device.device)
    costs = probe(opened.images, configs, device.device)
    forecasts = [forecast(*pair) for pair in zip(configs, costs, strict=True)]
    found = dict(zip(names, forecasts, strict=True))
    if options.json:
        told = {name: to_json(one) for name, one in found.items()}
        print(json.dumps({"images": len(opened.images), "presets": told}))
    else:
        print(table(found, free))
    return 0


def _show(options: argparse.Namespace) -> int:
    from engine.runs.folder import RunFolder

    found = _summary(RunFolder(options.run))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from engine.exports.label_table import packed, predicted_table, write_file
    from engine.runs.folder import RunFolder
    from engine.runs.predict import predict_images, scores
    from engine.runs.runner import choose_device

    folder = RunFolder(options.run)
    own = folder.images()
    if options.size is None and own.size[0] == own.size[1]:
        options.size = own.size[0]
    opened = _opened(options)
    if opened.images.channels != own.channels:
        print(
            f"note: the images are taken as {'colour' if own.channels == 3 else 'grey'}, as the run's", file=sys.stderr
        )
    clustering = predict_images(folder, opened.images, choose_device(options.device).device)
    table = predicted_table(opened.images, clustering)
    write_file(packed(table, options.format, guard=not options.no_guard), options.out)
    print(f"{len(opened.images)} labels in {options.out}", file=sys.stderr)
    truth = scores(clustering, opened.truth)
    rounded = {name: round(value, 6) for name, value in truth.items()}
    print(json.dumps({"images": len(opened.images), **({"truth": rounded} if rounded else {})}))
    return 0


def _map(options: argparse.Namespace) -> int:
    from engine.runs.folder import RunFolder
    from engine.runs.maps import compute
    from engine.space.projection import MapSettings

    folder = RunFolder(options.run)
    folder.card()

    def tell(part: str, done: float) -> None:
        print(json.dumps({"part": part, "done": round(done, 3)}), flush=True)

    asked = MapSettings(options.neighbors, options.min_dist)
    compute(folder, asked, frames=options.replay, progress=tell)
    return 0


def _replay(options: argparse.Namespace) -> int:
    from engine.exports.label_table import write_file
    from engine.lesson.html_file import replay
    from engine.runs.folder import RunFolder

    content = replay(RunFolder(options.run)).encode()
    write_file(content, options.out)
    print(f"{sized(len(content))} in {options.out}", file=sys.stderr)
    return 0


def _trials(options: argparse.Namespace) -> int:
    from engine.lesson.failure_trials import make_trials
    from engine.runs.folder import RunFolder

    folder = RunFolder(options.run)
    folder.card()

    def tell(trial: str, done: float) -> None:
        print(json.dumps({"trial": trial, "done": round(done, 3)}), flush=True)

    make_trials(folder, progress=tell)
    return 0


def _encoder(options: argparse.Namespace) -> int:
    from engine.exports.label_table import write_file
    from engine.runs.folder import RunFolder
    from engine.runs.predict import encoder_file

    if options.out.suffix != ".pt":
        raise RunError(f"{options.out} does not end in .pt: give it that ending, so that features.source can find it")
    content = encoder_file(RunFolder(options.run))
    write_file(content, options.out)
    print(f"{sized(len(content))} in {options.out}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
