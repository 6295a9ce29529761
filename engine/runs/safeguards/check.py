"""What of a run folder is as it was written, and what is not.

Reading a file only tells whether it can be read; its checksum tells whether it is the one that was written, and
`exchanged` whether it still lies beside those that it was made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine import checksums
from engine.curate.log import FILE as DECISIONS
from engine.curate.log import damaged_logs
from engine.curate.salvage import GONE, is_gone, trouble_of_log
from engine.errors import RunError, SpiceError
from engine.events import STAGES, LineSkipped
from engine.runs.files import load_array, load_weights
from engine.runs.folder import DAMAGED, RunFolder
from engine.runs.kept_forecast import load_forecast
from engine.runs.safeguards.cures import cure_of
from engine.runs.safeguards.damage import exchanged, of_others, pixels_trouble

# Folders with artefacts in them.
SERIES = ("frames", "xray", "trials", "maps")
UNSIGNED = "it can be read, but no checksum was written with it"


@dataclass(frozen=True)
class Finding:
    """What was found of one part of a run: `trouble` is what is wrong with it and what to do, "" if nothing is."""

    name: str
    trouble: str = ""
    note: str = "whole"

    @property
    def line(self) -> str:
        return f"{self.name}: {self.trouble or self.note}"


def check(folder: RunFolder) -> Iterator[Finding]:
    """Reads all of a run, and yields what it finds, part by part.

    Raises:
        RunError: when there is no run.
    """
    if not folder.exists:
        folder.card()
    yield from _own_files(folder)
    for artefact in artefacts_of(folder):
        trouble = trouble_of(folder, artefact)
        if trouble:
            yield Finding(artefact, f"{trouble}: {cure_of(artefact)}")
        elif others := exchanged(folder, artefact):
            yield Finding(artefact, of_others(others))
        else:
            yield Finding(artefact, note="whole" if folder.sums(artefact) is not None else UNSIGNED)
    for stage in STAGES:
        yield from _checkpoint(folder, stage)
    yield from _events(folder)
    yield from _decisions(folder)
    if (folder.path / DAMAGED).is_dir():
        yield Finding(DAMAGED, note="what was found damaged earlier, and moved aside")


def artefacts_of(folder: RunFolder) -> list[str]:
    """All artefacts that are there, inputs and stages first."""
    plain, series = [], []
    for place in sorted(one for one in folder.path.iterdir() if one.is_dir() and not one.name.startswith(".")):
        if place.name in SERIES:
            series += [f"{place.name}/{one.name}" for one in sorted(place.iterdir()) if _is_artefact(one)]
        elif place.name != DAMAGED:
            plain.append(place.name)
    return plain + series


def _is_artefact(place: Path) -> bool:
    return place.is_dir() and not place.name.startswith(".")


def trouble_of(folder: RunFolder, artefact: str) -> str:
    """What is wrong with the files of an artefact, "" if they are as they were written, or can at least be read."""
    place, sums = folder.path / artefact, folder.sums(artefact)
    try:
        if sums is None:
            _read_all(place)
            return pixels_trouble(folder, artefact, folder.card().fingerprint) if artefact == "images" else ""
        for name, kept in sums.files.items():
            if not (place / name).exists():
                return f"{name} is missing"
            if checksums.sum_of(place / name) != kept:
                return f"{name} is not as it was written"
        return pixels_trouble(folder, artefact, sums.images) if sums.images else ""
    except OSError as error:
        return f"{Path(error.filename or place).name} cannot be read ({error.strerror or error})"
    except ValueError as error:
        return str(error)
    except SpiceError as error:
        return str(error).partition(": ")[0]


def _read_all(place: Path) -> None:
    for file in sorted(place.iterdir()):
        try:
            if file.name.startswith("."):
                continue
            if file.suffix == ".npy":
                load_array(file)
            elif file.suffix == ".pt":
                load_weights(file)
        except ValueError as error:
            raise ValueError(f"{file.name} is damaged ({error})") from None


def given_trouble(folder: RunFolder) -> str:
    """What is wrong with the run's own files, "" if they are as they were written."""
    sums = folder.sums()
    for name, kept in (sums.files if sums is not None else {}).items():
        try:
            if checksums.sum_of(folder.path / name) != kept:
                return f"{name} is not as it was written"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
    return ""


def _own_files(folder: RunFolder) -> Iterator[Finding]:
    trouble = given_trouble(folder)
    name = trouble.split(" ")[0] or "run.json"
    if trouble:
        yield Finding(name, f"{trouble}: {cure_of(name)}")
        return
    try:
        folder.card()
        folder.encoder_card()
        load_forecast(folder)
    except RunError as error:
        yield Finding(name, str(error))
        return
    yield Finding(name, note="whole" if folder.sums() is not None else UNSIGNED)


def _checkpoint(folder: RunFolder, stage: str) -> Iterator[Finding]:
    file = folder.path / f"checkpoint-{stage}.pt"
    if not file.exists():
        return
    try:
        load_weights(file)
        yield Finding(file.name)
    except ValueError as error:
        cure = "resume the run, and it is moved aside and its stage begins again"
        yield Finding(file.name, f"it is damaged ({error}): {cure}")


def _events(folder: RunFolder) -> Iterator[Finding]:
    records = folder.records()[0]
    lost = sum(isinstance(one.event, LineSkipped) for one in records)
    if lost:
        yield Finding("events.jsonl", f"{lost:,} of {len(records):,} lines cannot be read, and are passed over")
    elif records:
        yield Finding("events.jsonl")


def _decisions(folder: RunFolder) -> Iterator[Finding]:
    """Of the log of decisions; nothing is moved or written here, as opening it in the app would do."""
    file = folder.path / DECISIONS
    if file.exists():
        trouble = trouble_of_log(file)
        cure = "open the run's Curate page: the log is moved aside, and every row that can be read is kept"
        yield Finding(DECISIONS, f"{trouble}: {cure}" if trouble else "")
    elif is_gone(file):
        yield Finding(DECISIONS, f"it {GONE}")
    for name in damaged_logs(folder.path):
        yield Finding(
            name, note="a log of decisions that was found damaged earlier; what could be read of it was saved"
        )
