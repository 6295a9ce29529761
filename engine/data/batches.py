"""`DeviceImages`: brings the images to the training device, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from engine.data.images import ImageSet

# A set stays on a GPU if it takes at most this share of its free memory.
RESIDENT_SHARE = 0.25
# The memory assumed to be free if it is unknown.
RESIDENT_BYTES = 4 * 2**30
STATISTICS_IMAGES, STATISTICS_BATCH = 10_000, 256
# Batches gathered before they are asked for and not fetched: an abandoned step leaves some behind.
MOST_AHEAD = 8


class DeviceImages:
    """Batches of an `ImageSet` on `device`: uint8 until a batch is asked for.

    A set that fits is copied to the device once. A larger one stays in host memory; each batch is
    gathered there, in a separate thread if it was announced, and sent.

    Stage 1 may learn from `extra` images as well: ids from N on are theirs.
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
        """N and the extra images."""
        return len(self) + (0 if self._extra is None else len(self._extra))

    def _on_device(self) -> torch.Tensor | None:
        """All images in one tensor; None where they do not fit, or would only be copied in memory."""
        if self._host[0].nbytes * self.total > _room(self.device):
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
        """Whether the images take memory of a device that has its own."""
        return self._resident is not None and self.device.type != "cpu"

    @property
    def area(self) -> int:
        """H·W: pixels of one image."""
        return self._host.shape[2] * self._host.shape[3]

    def leave_device(self) -> None:
        """Frees what the images take on the device: batches are sent from host memory afterwards."""
        self._resident = None

    def leave_extra(self) -> None:
        """Forgets the extra images, and frees what they take on the device."""
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

    def announce(self, draw: Callable[[], torch.Tensor]) -> None:
        """Starts to gather the next batch, if it must be sent at all.

        `draw` returns its ids, and is called only in that case: resident images need no preparation.
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


def _tensor(images: ImageSet) -> torch.Tensor:
    # torch wants writeable memory: a read-only array is copied, a copy-on-write map is not.
    return torch.from_numpy(np.require(images.pixels, requirements=["C", "W"]))


def _room(device: torch.device) -> float:
    """Bytes that images may take on `device`; host memory is where they are already."""
    if device.type == "cuda":
        return RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]
    return math.inf if device.type == "cpu" else RESIDENT_BYTES
