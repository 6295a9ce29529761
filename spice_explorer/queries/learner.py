"""`Learner`: suggestions that are learned in the background, again after every few answers."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.jobs import Job, Jobs, Task

if TYPE_CHECKING:
    from engine.curate.suggestions import Answers, Suggestions

MOST_KEPT = 4


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned, and from which answers; `found` is None where those of two classes were taken back."""

    answers: Answers
    found: Suggestions | None


class Learner:
    """What was learned last about each of a few models, by a thread of its own, one after the other."""

    def __init__(self) -> None:
        self._newest: OrderedDict[Hashable, Learned] = OrderedDict()
        self._guard = threading.Lock()
        self._looking = Jobs[Hashable, Job]("spice-suggestions", Job("learning"), at_once=1, keep=64)

    def newest(self, model: Hashable) -> Learned | None:
        with self._guard:
            return self._newest.get(model)

    def follow(
        self, model: Hashable, row: int, answers: Callable[[], Answers], learn: Callable[[Answers], Suggestions | None]
    ) -> bool:
        """Has a thread look at the `answers` there are at `row` of the log, and `learn` from them if that is due.

        Returns at once: whether the thread is still at it.
        """

        def work(_task: Task[Job]) -> None:
            before, now = self.newest(model), answers()
            if now.due(before.answers if before else None):
                self._keep(model, Learned(now, learn(now)))

        if not row:
            return False
        seen = self._looking.look((model, row)) or self._looking.ask((model, row), work, "learning from answers")
        return seen.underway

    def _keep(self, model: Hashable, found: Learned) -> None:
        with self._guard:
            self._newest[model] = found
            self._newest.move_to_end(model)
            while len(self._newest) > MOST_KEPT:
                self._newest.popitem(last=False)
