"""One way to write a share."""

from __future__ import annotations


def percent(share: float | None, decimals: int = 1) -> str:
    """ "90.4 %", which no line break takes apart; "–" for None.

    >>> percent(0.904), percent(0.5, 0)
    ('90.4\\xa0%', '50\\xa0%')
    """
    return "–" if share is None else f"{100 * share:.{decimals}f}\N{NO-BREAK SPACE}%"
