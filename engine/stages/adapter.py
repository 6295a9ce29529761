"""Stages 2 and 3 on a frozen network: its features of the images and of their views, and the adapter on top.

The network has seen every image, and some views of each, once (`frozen_features`). From then on a batch is made of
vectors: a view is drawn from those of its image, and stage 3 trains the adapter in place of the whole encoder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import ViewSettings
from engine.data.batches import ImageBatches, room
from engine.stages.encoder import initialise
from engine.views import strong_view, weak_view

# Directions that are kept: on photographs of clothes 128 are as good as all 1,280 (neighbours of one class .680
# and .674), and stage 2's heads are as wide as their features.
WIDTH = 256
BLOCK = 2**14
# `ENCODE_PIXELS` of them make 4,096 images.
AREA = 1024


@dataclass(frozen=True, eq=False)
class CachedViews:
    """Features of images and of their views by a frozen network, memory-mapped.

    Attributes:
        clean: (N, D) float32, of the images themselves.
        weak: (V, N, D) float16.
        strong: (S, N, D) float16.
    """

    clean: np.ndarray
    weak: np.ndarray
    strong: np.ndarray


class Adapter(nn.Module):
    """Features of a frozen network (M, D) → (M, P), P = min(256, D, N).

    The features are scaled to length 1 and projected onto their leading directions (PCA, by one common factor so
    that their mean square is about 1); a residual MLP is added. It begins as zero: stage 3 trains it.
    """

    mean: torch.Tensor
    directions: torch.Tensor

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("directions", torch.zeros(inputs, features))
        self.inner, self.norm = nn.Linear(features, features), nn.BatchNorm1d(features)
        self.outer = nn.Linear(features, features)

    @classmethod
    def on(cls, vectors: np.ndarray, seed: int) -> Adapter:
        """The adapter of clean images' features (N, D), on the CPU, in eval mode."""
        images, inputs = vectors.shape
        adapter = cls(inputs, min(WIDTH, inputs, images))
        initialise(adapter, torch.Generator().manual_seed(seed))
        for weight in (adapter.outer.weight, adapter.outer.bias):
            nn.init.zeros_(weight)
        mean, directions = _leading(vectors, adapter.features)
        adapter.mean.copy_(mean)
        adapter.directions.copy_(directions)
        return adapter.eval()

    @classmethod
    def of(cls, state: dict[str, torch.Tensor]) -> Adapter:
        """The adapter with these weights."""
        adapter = cls(*state["directions"].shape)
        adapter.load_state_dict(state)
        return adapter.eval()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        x = (F.normalize(vectors, dim=1) - self.mean) @ self.directions
        return x + self.outer(F.relu(self.norm(self.inner(x))))


def _leading(vectors: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean (D,) of unit vectors and their `count` leading directions (D, count), scaled by one factor."""
    total, moments = torch.zeros(vectors.shape[1]).double(), torch.zeros(2 * vectors.shape[1:]).double()
    for start in range(0, len(vectors), BLOCK):
        unit = F.normalize(torch.from_numpy(np.array(vectors[start : start + BLOCK])), dim=1).double()
        total += unit.sum(0)
        moments += unit.T @ unit
    mean = total / len(vectors)
    values, directions = torch.linalg.eigh(moments / len(vectors) - mean.outer(mean))
    values, directions = values.flip(0)[:count], directions.flip(1)[:, :count]
    # An eigenvector's sign is chance: its largest entry is made positive.
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return mean.float(), (directions * signs / values.clamp_min(0).mean().sqrt().clamp_min(1e-12)).float()


@torch.no_grad()
def adapted(adapter: Adapter, vectors: np.ndarray) -> np.ndarray:
    """(N, P) float32: what the adapter makes of features (N, D)."""
    device, out = adapter.mean.device, np.empty((len(vectors), adapter.features), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = torch.from_numpy(np.array(vectors[start : start + BLOCK])).to(device)
        out[start : start + BLOCK] = adapter(block).cpu().numpy()
    return out


class ViewVectors:
    """Batches of a frozen network's features in place of images: what `DeviceImages` is to pixels.

    A batch of M images is (M, 1 + V + S, D) float32: of each image itself, of its weak and of its strong views.
    """

    def __init__(self, views: CachedViews, device: torch.device) -> None:
        self.device = device
        self.weak, self.strong = len(views.weak), len(views.strong)
        self._host = [torch.from_numpy(np.asarray(one)) for one in (views.clean[None], views.weak, views.strong)]
        fits = device.type != "cpu" and sum(one.nbytes for one in self._host) <= room(device)
        self._resident = [one.to(device) for one in self._host] if fits else None

    def __len__(self) -> int:
        return self._host[0].shape[1]

    @property
    def resident(self) -> bool:
        """Whether the vectors take memory of a device that has its own."""
        return self._resident is not None

    @property
    def area(self) -> int:
        return AREA

    def leave_device(self) -> None:
        """Frees what the vectors take on the device: batches are sent from host memory afterwards."""
        self._resident = None

    def announce(self, draw: Callable[[], torch.Tensor]) -> None:
        """Nothing to prepare: a batch of vectors is small."""

    def batch(self, ids: torch.Tensor) -> torch.Tensor:
        """The vectors of images `ids` ((M,) int64, on the CPU), on the device."""
        if self._resident is not None:
            places = ids.to(self.device)
            return torch.cat([one[:, places].float() for one in self._resident]).transpose(0, 1)
        return torch.cat([one[:, ids].float() for one in self._host]).transpose(0, 1).to(self.device)

    def clean(self, batch: torch.Tensor) -> torch.Tensor:
        """(M, D): the features of the images themselves."""
        return batch[:, 0]


class Views(Protocol):
    """Draws one view of each image of a batch."""

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor: ...
    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor: ...


class _PixelViews:
    def __init__(self, settings: ViewSettings) -> None:
        self.settings = settings

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return weak_view(batch, self.settings.weak, generator)

    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return strong_view(batch, self.settings.strong, generator)


class _VectorViews:
    """A weak view is the image itself or one of its weak views; a strong one is a strong view of the network."""

    def __init__(self, weak: int, strong: int) -> None:
        self.count, self.total = 1 + weak, 1 + weak + strong

    def weak(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return _drawn(batch[:, : self.count], generator)

    def strong(self, batch: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return _drawn(batch[:, self.count if self.total > self.count else 0 :], generator)


def _drawn(vectors: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """(M, D): one of the L vectors (M, L, D) of each image."""
    images, count, _ = vectors.shape
    chosen = torch.randint(count, (images,), generator=generator, device=vectors.device)
    return vectors[torch.arange(images, device=vectors.device), chosen]


def views_of(pixels: ImageBatches, settings: ViewSettings) -> Views:
    """How views are drawn from batches of `pixels`: made of the pixels, or chosen among a frozen network's."""
    if isinstance(pixels, ViewVectors):
        return _VectorViews(pixels.weak, pixels.strong)
    return _PixelViews(settings)
