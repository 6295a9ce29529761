"""What people decided about the images of a run, and who did."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.curate.curation import State, default_name
from engine.curate.provenance import NAMES, Provenance
from engine.report.labels import Labels, colour_of

# By provenance: what it means that a label was given so.
MEANINGS = {
    Provenance.SEEN: "a person looked at this one image",
    Provenance.BULK: "a person decided it together with others, which were not looked at one by one",
    Provenance.VOTED: "a suggestion that was learned from seen answers and spread",
    Provenance.MODEL: "the model's own label; nobody has decided",
}


@dataclass(frozen=True)
class Giver:
    """How many labels were given in one way, and what that means."""

    name: str
    images: int
    meaning: str


@dataclass(frozen=True)
class Reviewer:
    """One reviewer's decisions that stand: images by what was decided, and when the first and the last was made."""

    name: str
    seen: int
    bulk: int
    voted: int
    rejected: int
    left_out: int
    first: float | None
    last: float | None


@dataclass(frozen=True)
class ClassRow:
    """A class as people left it: `images` have it, without those left out; `decided` of them by a person."""

    name: str
    colour: str
    images: int
    decided: int


@dataclass(frozen=True)
class People:
    """Decisions as they stand, undone ones left out.

    Attributes:
        givers: who gave the labels of all images that are not excluded, the strongest claim first.
        decided, rejected, left_out, disputed: images.
        reviewers: those whose decisions stand, the most decisions first.
        classes: as people left them; none where every class is still a cluster under its number.
    """

    givers: tuple[Giver, ...]
    decided: int
    rejected: int
    left_out: int
    disputed: int
    reviewers: tuple[Reviewer, ...]
    classes: tuple[ClassRow, ...]

    @property
    def any(self) -> bool:
        """Whether a person had any part in the labels."""
        return bool(self.reviewers or self.classes or sum(one.images for one in self.givers[:-1]))


def people_of(found: Labels) -> People:
    """Counts of the decisions that stand."""
    now = found.curation
    state = np.bincount(now.state, minlength=len(State)).tolist()
    gave = np.bincount(found.provenance[~found.left_out], minlength=len(Provenance)).tolist()
    givers = [Giver(NAMES[one], gave[one], MEANINGS[one]) for one in sorted(Provenance, reverse=True)]
    return People(
        tuple(givers),
        state[State.DECIDED],
        state[State.REJECTED],
        state[State.EXCLUDED],
        int(now.disputed.sum()),
        _reviewers(found),
        _classes(found),
    )


def _reviewers(found: Labels) -> tuple[Reviewer, ...]:
    now = found.curation
    deciders = now.deciders()
    rows: dict[str, list[int]] = {}
    for row, who in deciders.items():
        rows.setdefault(who, []).append(row)
    out = []
    for who, mine in rows.items():
        own = np.isin(now.deciding, mine)
        decided = own & (now.state == State.DECIDED)
        by = np.bincount(now.provenance[decided], minlength=len(Provenance)).tolist()
        state = np.bincount(now.state[own], minlength=len(State)).tolist()
        times = [found.times[row] for row in mine if row in found.times]
        out.append(
            Reviewer(
                who,
                by[Provenance.SEEN],
                by[Provenance.BULK],
                by[Provenance.VOTED],
                state[State.REJECTED],
                state[State.EXCLUDED],
                min(times, default=None),
                max(times, default=None),
            )
        )
    return tuple(
        sorted(out, key=lambda one: (-(one.seen + one.bulk + one.voted + one.rejected + one.left_out), one.name))
    )


def _classes(found: Labels) -> tuple[ClassRow, ...]:
    now, own = found.curation, found.classes
    if [(one.number, one.name) for one in now.classes] == [(one, default_name(one)) for one in range(found.clusters)]:
        return ()
    decided = now.state == State.DECIDED
    return tuple(
        ClassRow(
            one.name,
            colour_of(one),
            int(((own == one.number) & ~found.left_out).sum()),
            int(((own == one.number) & decided).sum()),
        )
        for one in now.classes
    )
