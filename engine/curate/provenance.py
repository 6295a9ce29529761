"""`Provenance`: who gave an image its label. The one rule for all rows of a log, those of earlier versions included.

Only answers about images that a person looked at say how good labels are: everything that is measured uses them alone.
"""

from __future__ import annotations

from enum import IntEnum


class Provenance(IntEnum):
    """Who gave a label, from the weakest claim to the strongest."""

    MODEL = 0  # nobody: it is the model's own
    VOTED = 1  # a suggestion that was spread, learned from images that a person looked at
    BULK = 2  # given or accepted by a person together with others, which were not looked at one by one
    SEEN = 3  # a person looked at this image and answered


# In the order of `Provenance`: what the log, the files and the pages say.
NAMES = tuple(one.name.lower() for one in Provenance)
_NAMED = dict(zip(NAMES, Provenance, strict=True))


def of_answer(images: int) -> Provenance:
    """Of an answer from the keyboard: a person who answers several images at once did not look at each.

    >>> of_answer(1).name, of_answer(2).name
    ('SEEN', 'BULK')
    """
    return Provenance.SEEN if images == 1 else Provenance.BULK


def of_row(kept: str | None, key: str | None, images: int) -> tuple[Provenance, bool]:
    """The provenance of what a row says, and whether that is certain.

    Earlier versions kept none (`kept` is None). Of their rows, only those of the keyboard have a key; a spread, a
    whole class, and decisions carried to the next run have none, even where they are about a single image.

    Args:
        images: how many the row is about.
    """
    if kept is not None:
        return _NAMED[kept], True
    if key is not None:
        return of_answer(images), True
    return Provenance.BULK, False
