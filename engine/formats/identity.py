"""Which column of a table names the images, and which image each row is about: one rule for all tables.

A name beats the content: of the columns that match, the one with the first usual title is taken, or else the only
one. Two that are equally good are refused and named, never chosen between.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.errors import SourceError

if TYPE_CHECKING:
    import pandas as pd

# Usual titles of the column that names an image, the best first.
NAMES = (
    "file_name",
    "id",
    "filename",
    "path",
    "file",
    "filepath",
    "file_path",
    "image_path",
    "image_id",
    "image",
    "img",
    "name",
)
# Usual titles of the column that holds the class, the best first.
LABELS = ("label", "class", "category", "target", "y", "labels", "class_name")
# A spreadsheet would take texts that begin so for formulas: exported tables put a quote before them.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def usual(title: object) -> str:
    """A title without regard to case, blanks and hyphens.

    >>> usual(" File-Name")
    'file_name'
    """
    return str(title).strip().lower().replace(" ", "_").replace("-", "_")


def the_column(matching: Sequence[Any], order: Sequence[str], what: str) -> Any:
    """The one of the `matching` titles that comes first in `order`, or else the only one.

    Args:
        what: what the columns match, for the message: "the table has two columns that WHAT".

    Raises:
        SourceError: that names both, if two are equally good.
    """
    best = _best(matching, order)
    if len(best) > 1:
        listed = " and ".join(repr(str(title)) for title in best[:2])
        raise SourceError(
            f"the table has {len(best)} columns that {what}, {listed}: rename the right one to {order[0]}, "
            "or remove the others"
        )
    return best[0]


def _best(matching: Sequence[Any], order: Sequence[str]) -> list[Any]:
    ranked = [(order.index(usual(title)), title) for title in matching if usual(title) in order]
    first = min((rank for rank, _ in ranked), default=None)
    return [title for rank, title in ranked if rank == first] or list(matching)


def text_of(value: object) -> str:
    """A name or class as text: bytes are read as UTF-8, whole floats are written as whole numbers.

    >>> text_of(b"cat"), text_of("007"), text_of(3.0), text_of(1)
    ('cat', '007', '3', '1')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (float, np.floating)) and value.is_integer():
        return str(int(value))
    return str(value)


def plain_path(name: str) -> str:
    """A path without blanks around it, with forward slashes, and without "./" at its beginning."""
    text = name.strip().replace("\\", "/")
    while text.startswith("./"):
        text = text[2:]
    return text


def spelling(name: str) -> str:
    """A name without regard to how it is spelt: blanks around it, "./", backslashes, the two Unicode forms of an
    accent, and the quote before a formula.

    >>> spelling(" .\\\\cats\\\\a.png "), spelling("'=1+1.png")
    ('cats/a.png', '=1+1.png')
    """
    text = plain_path(name)
    if text.startswith("'") and text[1:].startswith(FORMULA):
        text = text[1:]
    return text if text.isascii() else unicodedata.normalize("NFC", text)


class Spelt:
    """Finds names as they are written, or else by their `spelling` where that is the spelling of only one."""

    def __init__(self, names: Sequence[str]) -> None:
        self.exact = {name: place for place, name in enumerate(names)}

    @cached_property
    def _loose(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name, place in self.exact.items():
            key = spelling(name)
            found[key] = -1 if key in found else place
        return found

    def place(self, name: str) -> int:
        """The place of `name`; -1 for names that are not there, or could be two."""
        place = self.exact.get(name)
        return self._loose.get(spelling(name), -1) if place is None else place

    def places(self, names: Sequence[str | None]) -> np.ndarray:
        """(m,) int64: the place of each name, -1 for None."""
        return np.fromiter((-1 if one is None else self.place(one) for one in names), np.int64, len(names))


@dataclass(frozen=True, eq=False)
class Match:
    """The column `title` names the images; `places` (rows,) int64 is the image of each row, -1 for none."""

    title: Any
    places: np.ndarray


def matched(table: pd.DataFrame, images: Sequence[str]) -> Match:
    """Which image each row of the table is about.

    The table may name images by their ids, or by the last part of the ids if no two are equal.

    Raises:
        SourceError: if no column names images, or two are equally good.
    """
    last = [one.rsplit("/", 1)[-1] for one in images]
    spelt = [Spelt(names) for names in ((images, last) if len(set(last)) == len(last) else (images,))]
    found: dict[Any, np.ndarray] = {}
    for title in table.columns:
        places = _places(table[title], spelt)
        if places is not None:
            found[title] = places
    if not found:
        listed = ", ".join(map(repr, list(table.columns)[:8])) or "none"
        raise SourceError(
            f"no column of the table contains names of this run's images, such as {images[0]!r}: found {listed}"
        )
    best = _best(list(found), NAMES)
    same = all(np.array_equal(found[title], found[best[0]]) for title in best)  # then there is no choice to make
    title = best[0] if same else the_column(best, NAMES, "name images")
    return Match(title, found[title])


def _places(values: pd.Series, spelt: Sequence[Spelt]) -> np.ndarray | None:
    """By the first of `spelt` in which the column has any name."""
    names = [None if gap else text_of(one) for one, gap in zip(values.tolist(), values.isna().tolist(), strict=True)]
    for one in spelt:
        places = one.places(names)
        if (places >= 0).any():
            return places
    return None


def by_content(titles: Sequence[Any], matches: Callable[[Any], bool], order: Sequence[str], what: str) -> Any | None:
    """`the_column` of those that match; None if none does. Only one title is not looked into."""
    if len(titles) < 2:
        return titles[0] if titles else None
    matching = [title for title in titles if matches(title)]
    return the_column(matching, order, what) if matching else None
