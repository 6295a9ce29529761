"""What is told of images as rows of CSV or JSON lines, written as they come."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import IO, Any, Literal, get_args

from engine.data.skipped import Skipped
from engine.formats.identity import FORMULA
from engine.models.about import About
from engine.models.streaming import Told

Format = Literal["csv", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)
COLUMNS = ("path", "class", "confidence", "runner_up", "runner_up_confidence", "distance", "unknown", "error")
# Texts that people or their files gave.
GUARDED = ("path", "class", "runner_up")
DIGITS = 6


def rows_of(told: Told, about: About) -> Iterator[dict[str, Any]]:
    """A row an image, with the COLUMNS; of an image that could not be read, all between path and error are None.

    `class` is the most probable class even where the image is unknown.
    """
    answers, row = told.answers, 0
    for place, name in enumerate(told.names):
        if place in told.reasons:
            yield {**dict.fromkeys(COLUMNS), "path": name, "error": told.reasons[place]}
            continue
        second = int(answers.runners_up[row])
        yield {
            "path": name,
            "class": about.classes[answers.classes[row]],
            "confidence": round(float(answers.confidence[row]), DIGITS),
            "runner_up": None if second < 0 else about.classes[second],
            "runner_up_confidence": None if second < 0 else round(float(answers.next_confidence[row]), DIGITS),
            "distance": round(float(answers.distance[row]), DIGITS),
            "unknown": bool(answers.unknown[row]),
            "error": None,
        }
        row += 1


class Writer:
    """Writes rows into a text file or stream, each batch at once."""

    def __init__(self, file: IO[str], form: Format, *, guard: bool = True) -> None:
        """`guard`: in a CSV, a quote keeps spreadsheets from running a name as a formula."""
        self._file, self._form, self._guard = file, form, guard
        self._csv = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
        if form == "csv":
            file.write(",".join(COLUMNS) + "\n")

    def write(self, rows: Iterator[dict[str, Any]]) -> None:
        for row in rows:
            if self._form == "jsonl":
                self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                self._csv.writerow([self._cell(column, row[column]) for column in COLUMNS])
        self._file.flush()

    def _cell(self, column: str, value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if self._guard and column in GUARDED and str(value).startswith(FORMULA):
            return f"'{value}"
        return value


def of_skipped(skipped: Iterable[Skipped]) -> Iterator[dict[str, Any]]:
    """A row for each file that is no image the app reads."""
    for one in skipped:
        yield {**dict.fromkeys(COLUMNS), "path": one.name, "error": one.reason}
