"""What clusters and classes are called, on every page. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.curate.curation import Curation, default_name


@dataclass(frozen=True)
class Names:
    """The names of the clusters and classes of a run.

    Attributes:
        given: the names that people gave, by the number of the class.
        merged: the class that a merged one has become.
    """

    given: Mapping[int, str] = field(default_factory=dict)
    merged: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, curation: Curation) -> Names:
        given = {one.number: one.name for one in curation.classes if one.name != default_name(one.number)}
        home = curation.home.tolist()
        return cls(given, {number: one for number, one in enumerate(home) if number != one})

    def title(self, number: int) -> str:
        """ "cats", or "Cluster 3" where nobody gave a name; a merged cluster's number follows its new name."""
        home = self.merged.get(number, number)
        name = self.given.get(home, default_name(home))
        return name if home == number else f"{name} (cluster {number})"

    def short(self, number: int) -> str:
        """ "cats", or "3": for charts and captions."""
        home = self.merged.get(number, number)
        name = self.given.get(home, str(home))
        return name if home == number else f"{name} ({number})"

    def inline(self, number: int) -> str:
        """ "“cats”", or "cluster 3": within a sentence."""
        if self.merged.get(number, number) in self.given:
            return f"“{self.title(number)}”"
        return self.title(number).replace("Cluster", "cluster", 1)


NUMBERS = Names()
