"""Reads labels that were edited elsewhere: tables, class folders, Label Studio's and FiftyOne's JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.data.columns import read_table
from engine.errors import RunError, SourceError
from engine.exports.labelled import Labelled
from engine.exports.names import folder_names
from engine.exports.returned import Answer, check_run
from engine.exports.trees import EXPORTED_AS, IMAGE_ID, TABLE
from engine.formats.identity import LABELS, Spelt, matched, text_of, the_column, usual
from engine.formats.images import image_ending

if TYPE_CHECKING:
    import pandas as pd

RUN_ID, DECIDED_AT, NAME, NUMBER = "run_id", "decided_at", "class_name", "class"


def answers_in(file: Path, format: str, labelled: Labelled) -> list[Answer]:
    """What a file, or a folder, says of the run's images.

    Args:
        format: one of READERS.

    Raises:
        RunError, SourceError: in a sentence, when it cannot be read, or is of another run.
    """
    if format not in READERS:
        raise RunError(f"labels do not come back from {format!r}: expected {', '.join(READERS)}")
    if not file.exists():
        raise RunError(f"there is no {file}: check the path")
    found = READERS[format](file, labelled)
    if not found:
        raise RunError(f"{file} has no label of an image: expected what {format} has after it was edited")
    return found


# -- tables ----------------------------------------------------------------------------------------


def _table(file: Path, labelled: Labelled) -> list[Answer]:
    return _in_table(_read(file, labelled), labelled)


def _read(file: Path, labelled: Labelled) -> pd.DataFrame:
    try:
        return read_table(file.read_bytes(), file.name, labelled.images.ids)
    except IsADirectoryError:
        raise RunError(f"{file} is a folder: expected a table; its format may be folders or fiftyone") from None


def _in_table(table: pd.DataFrame, labelled: Labelled) -> list[Answer]:
    """Its rows; a gap is no answer. In an exported table `class_name` is what is edited."""
    check_run(labelled.folder, _texts(table, RUN_ID))
    match = matched(table, labelled.images.ids)
    title = NAME if NAME in table and RUN_ID in table else _class_column(table, match.title)
    if title == NAME:
        _check_numbers(table, match.places.tolist(), labelled)
    when = _column(table, DECIDED_AT)
    gaps = table[title].isna().tolist()
    names = [text_of(one) for one in table[match.title].tolist()]
    places = match.places.tolist()
    return [
        Answer(labelled.images.ids[place] if place >= 0 else name, text_of(class_), decided_at=moment)
        for name, place, class_, gap, moment in zip(names, places, table[title].tolist(), gaps, when, strict=True)
        if not gap
    ]


def _class_column(table: pd.DataFrame, naming: Any) -> Any:
    titles = [one for one in table.columns if one != naming and usual(one) in (*LABELS, "choice")]
    if not titles:
        raise SourceError(
            f"no column says a class: found {', '.join(map(repr, list(table.columns)[:8]))}, expected one called "
            f"{NAME} or {LABELS[0]}"
        )
    return the_column(titles, LABELS, "say a class")


def _check_numbers(table: pd.DataFrame, places: list[int], labelled: Labelled) -> None:
    """Raises RunError where somebody has edited the number of the class, and not its name. Of images that were decided
    here since, nobody can tell."""
    if NUMBER not in table:
        return
    own = labelled.table
    now = list(zip(own[NUMBER].map(str), own[NAME], own[DECIDED_AT], strict=True))
    said = zip(places, _column(table, NUMBER), _column(table, NAME), _column(table, DECIDED_AT), strict=True)
    edited = [
        place
        for place, number, name, when in said
        if place >= 0 and (name, when) == now[place][1:] and number != now[place][0]
    ]
    if edited:
        raise RunError(
            f"{len(edited):,} rows have another number in {NUMBER}, but the same {NAME}, such as "
            f"{labelled.images.ids[edited[0]]!r}: edit {NAME}, which is what is read"
        )


def _texts(table: pd.DataFrame, title: str) -> set[str]:
    return set(_column(table, title))


def _column(table: pd.DataFrame, title: str) -> list[str]:
    if title not in table:
        return [""] * len(table)
    gaps = table[title].isna().tolist()
    return ["" if gap else text_of(one) for one, gap in zip(table[title].tolist(), gaps, strict=True)]


# -- class folders ---------------------------------------------------------------------------------


def _folders(file: Path, labelled: Labelled) -> list[Answer]:
    """The folder that each image is in now. The table that was exported with them says which image a file is, and what
    the folders were called; without one, names are matched as everywhere."""
    if not file.is_dir():
        raise RunError(f"{file} is a file: expected a folder of class folders")
    files = [one for one in sorted(file.rglob("*")) if image_ending(one.name) and not _hidden(one, file)]
    classes = dict(zip(folder_names(labelled.classes), labelled.classes, strict=True))
    own: dict[str, tuple[str, str]] = {}
    if (file / TABLE).is_file():
        table = _read(file / TABLE, labelled)
        check_run(labelled.folder, _texts(table, RUN_ID))
        for path, image, name, when in zip(
            table[EXPORTED_AS].tolist(),
            _column(table, "id"),
            _column(table, NAME),
            _column(table, DECIDED_AT),
            strict=True,
        ):
            own[path.rsplit("/", 1)[-1]] = image, when
            classes[path.split("/")[-2]] = name
    ids = labelled.images.ids
    last = Spelt([one.rsplit("/", 1)[-1] for one in ids])
    found = []
    for one in files:
        image, when = own.get(one.name, ("", ""))
        if not image:
            place = -1 if own else last.place(one.name)
            image = ids[place] if place >= 0 else one.relative_to(file).as_posix()
        found.append(Answer(image, classes.get(one.parent.name, one.parent.name), decided_at=when))
    return found


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


# -- JSON ------------------------------------------------------------------------------------------


def _json(file: Path, labelled: Labelled) -> Any:
    del labelled
    try:
        return json.loads(file.read_text("utf-8"))
    except (ValueError, IsADirectoryError) as error:
        raise RunError(f"{file} is not JSON ({error}): expected an export as JSON") from None


def _label_studio(file: Path, labelled: Labelled) -> list[Answer]:
    """Label Studio's JSON or JSON-MIN: of each task the one answer of all who annotated it; tasks that nobody has
    annotated are none. Who annotates looks at the image."""
    if file.suffix.lower() == ".csv":
        raise RunError(f"{file} is a table: bring it back with --format csv, or export it from Label Studio as JSON")
    tasks = _json(file, labelled)
    if not isinstance(tasks, list):
        raise RunError(f"{file} is not a list of tasks: export it from Label Studio as JSON")
    told = [one for task in tasks for one in _of_task(task)]
    check_run(labelled.folder, {run for *_, run in told})
    return [Answer(image, choice, True, when) for image, choice, when, _ in told]


def _of_task(task: Any) -> Iterator[tuple[str, str, str, str]]:
    """Image, class, when that was decided before, and the run's id, if the task has an answer."""
    data = task.get("data", task)
    image = text_of(data.get(IMAGE_ID, ""))
    if "annotations" in task:
        results = [one["result"] for one in task["annotations"] if not one.get("was_cancelled")]
        choices = {tuple(part["value"]["choices"]) for one in results for part in one if part["type"] == "choices"}
    else:
        choices = {tuple(one) if isinstance(one, list) else (one,) for one in [task.get("label")] if one}
    if not choices:
        return
    if len(choices) > 1 or len(next(iter(choices))) != 1:
        said = " and ".join(sorted("+".join(one) for one in choices))
        raise RunError(f"{image!r} was given several classes in Label Studio ({said}): agree on one there first")
    yield image, next(iter(choices))[0], text_of(data.get(DECIDED_AT, "")), text_of(data.get(RUN_ID, ""))


def _fiftyone(file: Path, labelled: Labelled) -> list[Answer]:
    """labels.json of a FiftyOneImageClassificationDataset, or the folder that it is in. Whether somebody looked at an
    image there, nobody knows."""
    found = _json(file / "labels.json" if file.is_dir() else file, labelled)
    if not isinstance(found, dict) or "labels" not in found:
        raise RunError(f"{file} has no labels: export a FiftyOneImageClassificationDataset")
    classes = found.get("classes") or []
    last = Spelt([one.rsplit("/", 1)[-1].rpartition(".")[0] or one for one in labelled.images.ids])
    told, runs = [], set()
    for stem, said in found["labels"].items():
        label = said["label"] if isinstance(said, dict) else said
        known = said.get("attributes", {}) if isinstance(said, dict) else {}
        name = classes[label] if isinstance(label, int) else label
        place = -1 if IMAGE_ID in known else last.place(stem.rsplit("/", 1)[-1])
        image = known.get(IMAGE_ID, labelled.images.ids[place] if place >= 0 else stem)
        runs.add(known.get(RUN_ID, ""))
        if name is not None:
            told.append(Answer(image, name, decided_at=known.get(DECIDED_AT, "")))
    check_run(labelled.folder, runs)
    return told


READERS: dict[str, Callable[[Path, Labelled], list[Answer]]] = {
    "csv": _table,
    "parquet": _table,
    "folders": _folders,
    "label-studio": _label_studio,
    "fiftyone": _fiftyone,
}
