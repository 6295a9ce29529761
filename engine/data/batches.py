"""`DeviceImages`: the images' way to the training device, batch by batch."""

from __future__ import annotations

import math

import numpy as np
import torch

from engine.data.images import ImageSet

# A set up to this size lives on the training device; a larger one is gathered batch by batch.
RESIDENT_BYTES = 4 * 2**30
STATISTICS_IMAGES = 10_000


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

    def batch(self, ids: torch.Tensor) -> torch.Tensor:
        """Images `ids` ((M,) int64) as (M, C, H, W) float32 in 0–1 on the device."""
        if self._resident:
            return self._pixels[ids.to(self.device)].float().div_(255)
        gathered = self._pixels[ids.cpu()]
        return gathered.to(self.device, non_blocking=True).float().div_(255)

    def mean_and_deviation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Per-channel mean and standard deviation, two (C,) float32, over at most 10,000 images."""
        step = math.ceil(len(self) / STATISTICS_IMAGES)
        sample = self.batch(torch.arange(0, len(self), step))
        deviation, mean = torch.std_mean(sample, dim=(0, 2, 3))
        return mean, deviation.clamp_min(1e-3)
