"""`DeviceImages`: the images' way to the training device, batch by batch."""

from __future__ import annotations

import math

import numpy as np
import torch

from engine.data.images import ImageSet

# A set up to this size lives on the training device; a larger one is gathered batch by batch.
RESIDENT_BYTES = 4 * 2**30
STATISTICS_IMAGES, STATISTICS_BATCH = 10_000, 256


class DeviceImages:
    """Batches of an `ImageSet` on `device`: uint8 until a batch is asked for.

    A set of up to `RESIDENT_BYTES` is copied to the device once; a larger one stays where it is and
    each batch is gathered and sent.
    """

    def __init__(self, images: ImageSet, device: torch.device) -> None:
        self.device = device
        self._resident = images.pixels.nbytes <= RESIDENT_BYTES
        # torch wants writeable memory: a read-only array is copied, a copy-on-write map is not.
        tensor = torch.from_numpy(np.require(images.pixels, requirements=["C", "W"]))
        self._pixels = tensor.to(device) if self._resident else tensor

    def __len__(self) -> int:
        return len(self._pixels)

    @property
    def area(self) -> int:
        """H·W: pixels of one image."""
        return self._pixels.shape[2] * self._pixels.shape[3]

    def batch(self, ids: torch.Tensor) -> torch.Tensor:
        """Images `ids` ((M,) int64) as (M, C, H, W) float32 in 0–1 on the device."""
        if self._resident:
            return self._pixels[ids.to(self.device, non_blocking=True)].float().div_(255)
        gathered = self._pixels[ids.cpu()]
        return gathered.to(self.device, non_blocking=True).float().div_(255)

    def mean_and_deviation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-channel mean and standard deviation, two (C,) float32, over at most 10,000 images."""
        ids = torch.arange(0, len(self), math.ceil(len(self) / STATISTICS_IMAGES))
        moments = torch.zeros(2, self._pixels.shape[1], device=self.device)
        for part in ids.split(STATISTICS_BATCH):
            x = self.batch(part)
            moments += torch.stack((x.mean((2, 3)).sum(0), x.square().mean((2, 3)).sum(0)))
        mean, square = moments / len(ids)
        return mean, (square - mean.square()).clamp_min(0).sqrt().clamp_min(1e-3)
