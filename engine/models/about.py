"""`About`: what a model is, in plain values that fit into one line of JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from engine.data.origin import FITS, Fit
from engine.errors import RunError, first_sentence
from engine.formats.depth import USUAL_DEPTHS, Depth, Kind

# Raised when a file of an earlier version is not read any more.
FORMAT = 1


@dataclass(frozen=True)
class Thresholds:
    """An image is *unknown* when its confidence is below `confidence`, or its distance above `distance`.

    `share` of the run's own images are unknown by them.
    """

    confidence: float
    distance: float
    share: float


@dataclass(frozen=True)
class About:
    """What a model is, and what it was made of.

    Attributes:
        run, run_id: the name of the run, and a hash that copies of it share.
        stage: whose network it is, "stage 2" or "stage 3".
        classes: their names, as people gave them.
        home: (K,) for each cluster the place of its class in `classes`.
        without: names of classes that people made and that no cluster has become: the model never gives them.
        channels, height, width: of the images it takes.
        fit: how they became squares.
        depths: with which values of more than 8 bits became 8 bits: low and scale, by their `Kind`; empty
            where there were none, or nobody knows.
        thresholds: below which an image is unknown.
        network: the card of the encoder.
        fingerprint, images: of the images it was trained on.
        source: the last part of where they came from.
        settings: of the run.
        scores: as the command `show` has them: label-free ones, and under "truth" those with ground truth.
        decisions: how many images people decided, rejected or excluded, by that word; and by "taught" how many
            decisions of an earlier run it was trained with.
    """

    run: str
    run_id: str
    stage: str
    classes: tuple[str, ...]
    home: tuple[int, ...]
    channels: int
    height: int
    width: int
    fit: Fit
    thresholds: Thresholds
    network: dict[str, Any]
    fingerprint: str
    images: int
    source: str
    settings: dict[str, Any]
    without: tuple[str, ...] = ()
    depths: dict[str, tuple[float, float]] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    decisions: dict[str, int] = field(default_factory=dict)

    @property
    def depth_rule(self) -> dict[Kind, Depth] | None:
        """The depths as an image is decoded with them; None lets each image have its own."""
        return {kind: Depth(*self.depths[kind]) for kind in USUAL_DEPTHS if kind in self.depths} or None

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)})


def from_json(text: str, where: object) -> About:
    """The About that `to_json` wrote; raises RunError, which names `where` it was, for any other text."""
    try:
        found = dict(json.loads(text))
        version = found.pop("format")
        if version != FORMAT:
            raise RunError(f"{where} has model format {version}, but this version reads {FORMAT}: export it again")
        for name in ("classes", "home", "without"):
            found[name] = tuple(found[name])
        found["depths"] = {name: (float(low), float(scale)) for name, (low, scale) in found["depths"].items()}
        found["thresholds"] = Thresholds(**found["thresholds"])
        about = About(**found)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{where} is damaged ({first_sentence(error)}): export the model again") from None
    if about.fit not in FITS or not about.classes or set(about.home) != set(range(len(about.classes))):
        raise RunError(f"{where} is damaged (its classes or its fit are not valid): export the model again")
    return about
