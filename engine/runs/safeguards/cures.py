"""What to do about a part of a run that is damaged. No advice loses what cannot be made again."""

from __future__ import annotations

# What training makes, from what is whole, and what is moved aside for that.
REMADE: tuple[str, ...] = ("features", "neighbors", "heads", "reliable-heads", "joint", "reliable-joint")


def cure_of(artefact: str) -> str:
    """What to do about an artefact that is damaged."""
    kind = artefact.partition("/")[0]
    if kind == "maps":
        return "it is computed again when the Map page asks for it"
    if kind in ("frames", "xray", "trials"):
        return "replays and lessons leave it out"
    if kind in REMADE:
        return "resume the run, on the Train page or with --resume: this is moved aside and made again"
    return "it cannot be made again here: put back a copy of it, or start a new run from the same source"
