"""When an image is unknown: thresholds of confidence and distance, calibrated on the run's own images.

The distance of an image is 1 minus the mean cosine of its features to those of the 5 nearest of up to 2,048 images of
the run, the references. Distances to prototypes do not serve: a network maps what it has never seen between the
clusters, where it is not far from a prototype, but far from every image. Of a run on the digits (1 % of the own images
beyond each threshold), drawn shapes, photographs, CIFAR-10 and noise were unknown in 87 to 97 % by neighbours, in 35
to 49 % by prototypes, and in 23 to 43 % by confidence alone.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from engine.models.about import Thresholds

NEAREST = 5
REFERENCES = 2_048
# The images on which thresholds are calibrated; the references are the first of them.
SAMPLE = 2 * REFERENCES
# Of the run's own images, so many lie beyond each of the two thresholds.
SHARE = 0.01
BLOCK = 1_024


def distance(features: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
    """(M,): 1 minus the mean cosine of features (M, D) to the nearest references (R, D) of length 1."""
    return _far(F.normalize(features, dim=1) @ references.T)


def _far(cosines: torch.Tensor) -> torch.Tensor:
    return 1 - cosines.topk(min(NEAREST, cosines.shape[1]), dim=1).values.mean(1)


def references_of(features: np.ndarray) -> torch.Tensor:
    """(R, D) of length 1: those of the first features (M, D) of a sample."""
    return F.normalize(torch.from_numpy(np.array(features[:REFERENCES], np.float32)), dim=1)


def calibrated(confidence: np.ndarray, features: np.ndarray) -> Thresholds:
    """The thresholds of a sample of the run's own images, by confidence (M,) and features (M, D).

    An image that is a reference itself is not its own neighbour: its distance is one to other images, like that of an
    image that the run has never seen.
    """
    distances = own_distances(features)
    least, most = float(np.quantile(confidence, SHARE)), float(np.quantile(distances, 1 - SHARE))
    unknown = (confidence < least) | (distances > most)
    return Thresholds(least, most, float(unknown.mean()))


def own_distances(features: np.ndarray) -> np.ndarray:
    """(M,) float32: the distance of each image of a sample (M, D) to the others."""
    references = references_of(features)
    if len(references) < 2:
        return np.zeros(len(features), np.float32)
    found = []
    for start in range(0, len(features), BLOCK):
        block = torch.from_numpy(np.array(features[start : start + BLOCK], np.float32))
        cosines = F.normalize(block, dim=1) @ references.T
        own = torch.arange(start, min(start + len(block), len(references)))
        cosines[own - start, own] = -1.0
        # Of very few images the missing one counts less if it is not among the nearest.
        count = min(NEAREST, len(references) - 1)
        found.append(1 - cosines.topk(count, dim=1).values.mean(1))
    return torch.cat(found).numpy()
