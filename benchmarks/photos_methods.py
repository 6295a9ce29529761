"""What the benchmark `photos` compares SPICE with, in which settings, and with how many seeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.baselines.plain import kmeans, probe, umap_kmeans
from benchmarks.baselines.temi import TemiSettings, temi
from benchmarks.baselines.turtle import TurtleSettings, turtle

CLUSTERS = 10
# With few images the epochs of the paper are few steps: heads hardly leave their random weights, and a teacher with
# momentum 0.996 follows them even less.
TEMI = TemiSettings(hidden=0, epochs=0, least_steps=3000, learning_rate=1e-3, teacher_momentum=0.99)
TURTLE = TurtleSettings(outer_steps=1000, batch=2000, warm=True)
# Published settings take a minute or more for each seed: one seed, and small sets only.
FEW_SEEDS, FEW_IMAGES = 1, 2000


@dataclass(frozen=True, eq=False)
class Vectors:
    """What the methods are given.

    Attributes:
        network: (N, D) float32, as the network gives them.
        scaled: (N, P) float32, as SPICE's stages 2 and 3 begin with them: the leading directions of unit vectors.
        truth: (N,) int64, for the probe alone.
    """

    network: np.ndarray
    scaled: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Method:
    """A way to label vectors: `labels` takes them and a seed, and gives (N,).

    Attributes:
        published: in settings that take long, so that it is not measured on large sets and with many seeds.
    """

    title: str
    labels: Callable[[Vectors, int], np.ndarray]
    published: bool = False

    def seeds(self, asked: int, images: int) -> range:
        if not self.published:
            return range(asked)
        return range(min(asked, FEW_SEEDS) if images <= FEW_IMAGES else 0)


METHODS = (
    Method("k-means", lambda v, seed: kmeans(v.network, CLUSTERS, seed)),
    Method("UMAP + k-means", lambda v, seed: umap_kmeans(v.network, CLUSTERS, seed)),
    Method("TEMI, more steps", lambda v, seed: temi(v.scaled, CLUSTERS, seed, TEMI)),
    Method("TURTLE, warm start", lambda v, seed: turtle(v.scaled, CLUSTERS, seed, TURTLE)),
    Method("TEMI, as published", lambda v, seed: temi(v.scaled, CLUSTERS, seed, TemiSettings()), published=True),
    Method("TURTLE, as published", lambda v, seed: turtle(v.scaled, CLUSTERS, seed, TurtleSettings()), published=True),
    Method("logistic regression WITH labels", lambda v, seed: probe(v.scaled, v.truth, seed)),
)
