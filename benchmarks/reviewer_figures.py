"""The figures that a page states, read from its text, and how often they are true. Pure."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

# Pages state the ends of an interval in whole per cent.
ROUNDED = 0.005
GOAL = 0.9
ABOUT = re.compile(r"about ([\d.]+)\s*% \(([\d.]+) – ([\d.]+)\s*%\)")
COUNTED = re.compile(r"([\d,]+) (seen|bulk|voted|model|rejected|excluded)")
CELL = re.compile(r"([\d.]+)\s*% \([\d,]+ of [\d,]+; ([\d.]+) – ([\d.]+)\s*%\)")


@dataclass(frozen=True)
class Stated:
    """A share 0–1 as a page states it, with the ends of its interval, where it has one."""

    share: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Reading:
    """A figure of a page next to the truth. A count has no interval and is right only if it is exact.

    Attributes:
        figure: what it is, and after what.
        kind: "share" or "count".
        low, high: the interval of a share; None where the page states none.
    """

    figure: str
    kind: str
    stated: float
    true: float
    low: float | None = None
    high: float | None = None

    @property
    def covered(self) -> bool | None:
        """Whether it is true; None of a share without an interval, of which nothing can be said one by one."""
        if self.kind == "count":
            return self.stated == self.true
        if self.low is None or self.high is None:
            return None
        return self.low - ROUNDED <= self.true <= self.high + ROUNDED

    def record(self) -> dict[str, object]:
        return {**asdict(self), "covered": self.covered}


def shares(text: str) -> list[Stated]:
    """Every "about 38.0 % (24 – 54 %)" of a text, in its order.

    >>> shares("about 38.0 % (24 – 54 %) right")
    [Stated(share=0.38, low=0.24, high=0.54)]
    """
    return [_stated(found) for found in ABOUT.finditer(text)]


def cell(text: str) -> Stated | None:
    """What a cell like "96.0 % (24 of 25; 80 – 99 %)" states; None of a class of which nothing is known."""
    found = CELL.fullmatch(text.strip())
    return None if found is None else _stated(found)


def _stated(found: re.Match[str]) -> Stated:
    share, low, high = (float(one) / 100 for one in found.groups())
    return Stated(round(share, 6), round(low, 6), round(high, 6))


def counts(text: str) -> dict[str, int]:
    """The counts of "1,000 seen · 20 voted of 1,200" by who gave the label.

    >>> counts("1,000 seen · 20 voted of 1,200")
    {'seen': 1000, 'voted': 20}
    """
    return {name: number(count) for count, name in COUNTED.findall(text)}


def number(text: str) -> int:
    return int(text.replace(",", ""))


def sought(pattern: str, text: str) -> tuple[str, ...]:
    """The groups of a pattern that a page must show; raises LookupError with what it shows instead."""
    found = re.search(pattern, text)
    if found is None:
        raise LookupError(f"the page does not say {pattern!r}: {text[:2000]}")
    return found.groups()


@dataclass(frozen=True)
class Row:
    """All readings of one figure: means of what was stated and of the truth, and how many were right."""

    figure: str
    kind: str
    stated: float
    true: float
    right: int | None
    total: int
    worst: float

    @property
    def met(self) -> bool | None:
        if self.right is None:
            return None
        return self.right == self.total if self.kind == "count" else self.right >= GOAL * self.total

    def cells(self) -> list[str]:
        shown = [f"{one:,.1f}" if self.kind == "count" else f"{100 * one:.1f} %" for one in (self.stated, self.true)]
        right = "no interval" if self.right is None else f"{self.right} of {self.total}"
        worst = f"{self.worst:,.0f}" if self.kind == "count" else f"{100 * self.worst:.1f} points"
        verdict = {None: "", True: "met", False: "**missed**"}[self.met]
        return [self.figure, *shown, worst, right, verdict]


def rows(readings: Iterable[Reading]) -> list[Row]:
    """One row for each figure, in the order in which they were first read."""
    by_figure: dict[str, list[Reading]] = {}
    for one in readings:
        by_figure.setdefault(one.figure, []).append(one)
    return [_row(name, some) for name, some in by_figure.items()]


def _row(figure: str, some: Sequence[Reading]) -> Row:
    verdicts = [one.covered for one in some]
    right = None if any(one is None for one in verdicts) else sum(map(bool, verdicts))
    return Row(
        figure,
        some[0].kind,
        statistics.mean(one.stated for one in some),
        statistics.mean(one.true for one in some),
        right,
        len(some),
        max(abs(one.stated - one.true) for one in some),
    )
