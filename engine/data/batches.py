"""`DeviceImages`: brings the images to the training device, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F

from engine.data.images import ImageSet

# A set stays on the GPU if it needs at most this share of the free memory.
RESIDENT_SHARE = 0.25
# The free memory to assume if it is unknown.
RESIDENT_BYTES = 4 * 2**30
STATISTICS_IMAGES, STATISTICS_BATCH = 10_000, 256
# The most batches to keep that were announced and not fetched: an abandoned step leaves some behind.
MOST_AHEAD = 8
# What an image's features count as: pixels of a batch that is only encoded make 4,096 of them.
VECTOR_AREA = 1024
# Vectors that are looked at together for their deviation.
DEVIATION_BLOCK = 2**14


class ImageBatches(Protocol):
    """Batches of N images on a device, as pixels or as what a frozen network made of them."""

    device: torch.device

    def __len__(self) -> int: ...

    @property
    def total(self) -> int: ...

    @property
    def resident(self) -> bool: ...

    @property
    def area(self) -> int: ...

    def leave_device(self) -> None: ...
    def announce(self, draw: Callable[[], torch.Tensor]) -> None: ...
    def batch(self, ids: torch.Tensor) -> torch.Tensor: ...
    def clean(self, batch: torch.Tensor) -> torch.Tensor:
        """What an encoder is given of the images of a batch when it is to see them as they are."""
        ...


class DeviceImages:
    """Batches of an `ImageSet` on `device`; the images stay uint8 until a batch is requested.

    A set that fits is copied to the device once. A larger one stays in host memory: each batch is
    gathered there, in a separate thread if it was announced, and sent.

    Stages 1 and 3 may also learn from `extra` images, whose ids start at N.
    """

    def __init__(self, images: ImageSet, device: torch.device, extra: ImageSet | None = None) -> None:
        self.device = device
        self._host, self._extra = _tensor(images), None if extra is None else _tensor(extra)
        self._resident = self._on_device()
        self._gatherer = ThreadPoolExecutor(1, "spice-gather")
        self._ahead: dict[bytes, Future[torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self._host)

    @property
    def total(self) -> int:
        """The number of images, with the extra ones."""
        return len(self) + (0 if self._extra is None else len(self._extra))

    def _on_device(self) -> torch.Tensor | None:
        """All images in one tensor; None if they do not fit, or if this would only copy them in host memory."""
        if self._host[0].nbytes * self.total > room(self.device):
            return None
        if self._extra is None:
            return self._host.to(self.device)
        if self.device.type == "cpu":
            return None
        whole = torch.empty((self.total, *self._host.shape[1:]), dtype=torch.uint8, device=self.device)
        whole[: len(self)], whole[len(self) :] = self._host, self._extra
        return whole

    @property
    def resident(self) -> bool:
        """Whether the images take up memory on a GPU."""
        return self._resident is not None and self.device.type != "cpu"

    @property
    def area(self) -> int:
        """H·W: the pixels of one image."""
        return self._host.shape[2] * self._host.shape[3]

    def leave_device(self) -> None:
        """Frees the device memory of the images; batches are then sent from host memory."""
        self._resident = None

    def leave_extra(self) -> None:
        """Releases the extra images and their device memory."""
        if self._extra is not None:
            self._extra = self._resident = None
            self._resident = self._on_device()

    def batch(self, ids: torch.Tensor) -> torch.Tensor:
        """Images `ids` ((M,) int64, on the CPU) as (M, C, H, W) float32 in 0–1 on the device."""
        if self._resident is not None:
            return self._resident[ids.to(self.device, non_blocking=True)].float().div_(255)
        announced = self._ahead.pop(ids.numpy().tobytes(), None)
        gathered = announced.result() if announced else self._gathered(ids)
        return gathered.to(self.device, non_blocking=True).float().div_(255)

    def clean(self, batch: torch.Tensor) -> torch.Tensor:
        """The pixels as they are."""
        return batch

    def announce(self, draw: Callable[[], torch.Tensor]) -> None:
        """Starts gathering the next batch, unless the images are on the device already.

        `draw` returns its ids, and is called only if the batch has to be gathered.
        """
        if self._resident is None:
            while len(self._ahead) >= MOST_AHEAD:
                self._ahead.pop(next(iter(self._ahead))).cancel()
            ids = draw()
            self._ahead[ids.numpy().tobytes()] = self._gatherer.submit(self._gathered, ids)

    def _gathered(self, ids: torch.Tensor) -> torch.Tensor:
        if self._extra is None:
            batch = self._host[ids]
        else:
            own = ids < len(self)
            batch = torch.empty((len(ids), *self._host.shape[1:]), dtype=torch.uint8)
            batch[own], batch[~own] = self._host[ids[own]], self._extra[ids[~own] - len(self)]
        return batch.pin_memory() if self.device.type == "cuda" else batch

    def mean_and_deviation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-channel mean and standard deviation, two (C,) float32, over at most 10,000 images."""
        ids = torch.arange(0, len(self), math.ceil(len(self) / STATISTICS_IMAGES))
        moments = torch.zeros(2, self._host.shape[1], device=self.device)
        for part in ids.split(STATISTICS_BATCH):
            x = self.batch(part)
            moments += torch.stack((x.mean((2, 3)).sum(0), x.square().mean((2, 3)).sum(0)))
        mean, square = moments / len(ids)
        return mean, (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)


@dataclass(frozen=True, eq=False)
class CachedViews:
    """Features of images and of their views by a frozen network, memory-mapped; of external vectors no views.

    Attributes:
        clean: (N, D) float32, of the images themselves.
        weak: (V, N, D) float16.
        strong: (S, N, D) float16.
    """

    clean: np.ndarray
    weak: np.ndarray
    strong: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> CachedViews:
        """Those of a run, from its arrays `clean` and, unless they are external vectors, `weak` and `strong`."""
        clean = np.asarray(arrays["clean"])
        if "weak" not in arrays:
            return cls.none(clean)
        return cls(clean, np.asarray(arrays["weak"]), np.asarray(arrays["strong"]))

    @classmethod
    def none(cls, vectors: np.ndarray) -> CachedViews:
        """Those of external vectors (N, D): nobody saw views of their images."""
        nothing = np.zeros((0, *vectors.shape), np.float16)
        return cls(vectors, nothing, nothing)


class ViewVectors:
    """Batches of a frozen network's features in place of images: what `DeviceImages` is to pixels.

    A batch of M images is (M, 1 + V + S, D) float32: of each image itself, of its weak and of its strong views; of
    external vectors (M, 1, D), since V = S = 0.
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
    def total(self) -> int:
        """As many as there are images: there are no vectors of extra ones."""
        return len(self)

    @property
    def resident(self) -> bool:
        """Whether the vectors take memory of a device that has its own."""
        return self._resident is not None

    @property
    def area(self) -> int:
        return VECTOR_AREA

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

    @cached_property
    def deviation(self) -> torch.Tensor:
        """(D,) float32 on the device: how much each feature of vectors of length 1 differs between the images.

        It is computed on the host, so that it is the same wherever the vectors are.
        """
        moments = torch.zeros(2, self._host[0].shape[2], dtype=torch.float64)
        for block in self._host[0][0].split(DEVIATION_BLOCK):
            unit = F.normalize(block, dim=1).double()
            moments += torch.stack((unit.sum(0), unit.square().sum(0)))
        mean, square = moments / len(self)
        return (square - mean.square()).clamp_min(0).sqrt().float().to(self.device)


def _tensor(images: ImageSet) -> torch.Tensor:
    # torch needs writeable memory: a read-only array is copied, a copy-on-write map is not.
    return torch.from_numpy(np.require(images.pixels, requirements=["C", "W"]))


def room(device: torch.device) -> float:
    """How many bytes of images may stay on `device`; on a CPU any number, as they are in memory already."""
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    return math.inf if device.type == "cpu" else RESIDENT_BYTES
