"""Where the originals of images are, and how they became the squares that are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

# An image becomes its middle square, all of it on a border of its mean colour, or all of it without regard
# to its aspect.
Fit = Literal["crop", "pad", "squeeze"]
FITS: tuple[Fit, ...] = get_args(Fit)


@dataclass(frozen=True)
class Origin:
    """Where the originals of images are, as a run remembers it.

    Attributes:
        text: names the source by an absolute path; it may hold a path that is no valid text, as the
            system gave it.
        root: the absolute folder that the paths of a table start from, "" for the table's own.
        place: of the source, as `Source` has it.
        fit: how the originals became squares.
    """

    text: str
    root: str
    place: str
    fit: Fit = "crop"
