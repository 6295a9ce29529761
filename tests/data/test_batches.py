"""Batches on the device, and the statistics of their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.data import batches
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet

IDS = ("a", "b", "c")


@pytest.mark.parametrize("most_bytes", [10**9, 0], ids=["resident", "gathered"])
def test_a_batch_is_the_images_asked_for_in_0_to_1(
    most_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "RESIDENT_BYTES", most_bytes)
    pixels = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    pixels.flags.writeable = False
    batch = DeviceImages(ImageSet(pixels, IDS, "drawn"), torch.device("cpu")).batch(
        torch.tensor([2, 0, 1, 2])
    )
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch.view(-1), torch.tensor([1, 0, 0.2, 1]))


def test_mean_and_deviation_of_each_channel() -> None:
    pixels = np.zeros((2, 3, 1, 1), np.uint8)
    pixels[1, 0], pixels[:, 1] = 255, 51
    mean, deviation = DeviceImages(
        ImageSet(pixels, ("a", "b"), "drawn"), torch.device("cpu")
    ).mean_and_deviation()
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.2, 0]))
    # A channel that never changes has none; the floor keeps a division by it finite.
    torch.testing.assert_close(deviation, torch.tensor([0.5, 1e-3, 1e-3]))


def test_statistics_of_a_large_set_come_from_a_bounded_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batches, "STATISTICS_IMAGES", 4)
    pixels = np.array([255, 0, 255, 0, 255, 0, 255], np.uint8).reshape(7, 1, 1, 1)
    images = ImageSet(pixels, tuple("abcdefg"), "drawn")
    mean, _ = DeviceImages(images, torch.device("cpu")).mean_and_deviation()
    assert mean.item() == 1  # every second one: 4 of 7
