"""Costs for forecasts: every piece of work takes the same time, and bytes take none."""

from __future__ import annotations

from engine.forecast.timing import Cost

# As in `engine.forecast.forecast.work`, for runs without coarse views.
PIECES = (
    "features",
    "heads",
    "first",
    "joint",
    "encode",
    "condense",
    "judge",
    "neighbors",
    "kmeans",
    "score",
    "save",
    "write",
)


def costs_of_pieces(cost: Cost) -> dict[str, Cost]:
    return dict.fromkeys(PIECES, cost) | {"write": Cost(0.0, 0.0, 0.0)}
