"""Batches on the device, and the statistics of their pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.data import batches
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet

IDS = ("a", "b", "c")


@pytest.mark.parametrize("room", [10**9, 0], ids=["resident", "gathered"])
def test_a_batch_is_the_images_asked_for_in_0_to_1(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "room", lambda _: room)
    pixels = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    pixels.flags.writeable = False
    batch = DeviceImages(ImageSet(pixels, IDS, "drawn"), torch.device("cpu")).batch(torch.tensor([2, 0, 1, 2]))
    assert batch.dtype == torch.float32
    torch.testing.assert_close(batch.view(-1), torch.tensor([1, 0, 0.2, 1]))


def test_mean_and_deviation_of_each_channel() -> None:
    pixels = np.zeros((2, 3, 1, 1), np.uint8)
    pixels[1, 0], pixels[:, 1] = 255, 51
    mean, deviation = DeviceImages(ImageSet(pixels, ("a", "b"), "drawn"), torch.device("cpu")).mean_and_deviation()
    torch.testing.assert_close(mean, torch.tensor([0.5, 0.2, 0]))
    # A constant channel has deviation 0; the floor keeps divisions by it finite.
    torch.testing.assert_close(deviation, torch.tensor([0.5, 1e-3, 1e-3]))


def test_statistics_of_a_large_set_come_from_a_bounded_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "STATISTICS_IMAGES", 4)
    pixels = np.array([255, 0, 255, 0, 255, 0, 255], np.uint8).reshape(7, 1, 1, 1)
    images = ImageSet(pixels, tuple("abcdefg"), "drawn")
    mean, _ = DeviceImages(images, torch.device("cpu")).mean_and_deviation()
    assert mean.item() == 1  # every second image: 4 of 7


class Counted(DeviceImages):
    """Images in host memory that record which batches were gathered."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batches, "room", lambda _: 0)
        pixels = np.arange(0, 250, 10, dtype=np.uint8).reshape(25, 1, 1, 1)
        super().__init__(ImageSet(pixels, tuple(map(str, range(25))), "x"), torch.device("cpu"))
        self.gathered: list[list[int]] = []

    def _gathered(self, ids: torch.Tensor) -> torch.Tensor:
        self.gathered.append(ids.tolist())
        return super()._gathered(ids)

    def levels(self, *ids: int) -> list[int]:
        return (self.batch(torch.tensor(ids)).view(-1) * 255).round().int().tolist()


def test_an_announced_batch_is_gathered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = Counted(monkeypatch)
    pixels.announce(lambda: torch.tensor([3, 1]))
    assert pixels.levels(3, 1) == [30, 10]
    assert pixels.gathered == [[3, 1]]
    assert pixels.levels(3, 1) == [30, 10]
    assert pixels.gathered == [[3, 1], [3, 1]]


def test_images_that_left_the_device_come_in_the_same_batches() -> None:
    source = ImageSet(np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1), IDS, "drawn")
    pixels, ids = DeviceImages(source, torch.device("cpu")), torch.tensor([2, 1])
    before = pixels.batch(ids)
    pixels.leave_device()
    pixels.announce(lambda: ids)
    assert len(pixels._ahead) == 1
    assert torch.equal(pixels.batch(ids), before)


def test_a_set_that_does_not_fit_gives_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 3, 4, 5), dtype=np.uint8)
    source = ImageSet(pixels, tuple("abcdefghi"), "drawn")
    fits = DeviceImages(source, torch.device("cpu"))
    monkeypatch.setattr(batches, "room", lambda _: 0)
    gathered, ids = DeviceImages(source, torch.device("cpu")), torch.tensor([8, 0, 0, 4])
    assert gathered._resident is None
    assert fits._resident is not None
    assert torch.equal(gathered.batch(ids), fits.batch(ids))
    assert (len(gathered), gathered.area) == (len(fits), fits.area) == (9, 20)
    for one, other in zip(gathered.mean_and_deviation(), fits.mean_and_deviation(), strict=True):
        assert torch.equal(one, other)


def test_of_too_many_announced_batches_the_oldest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = Counted(monkeypatch)
    for one in range(batches.MOST_AHEAD + 1):
        pixels.announce(lambda one=one: torch.tensor([one]))
    assert len(pixels._ahead) == batches.MOST_AHEAD
    for one in range(batches.MOST_AHEAD, 0, -1):
        assert pixels.levels(one) == [10 * one]
        assert pixels.gathered.count([one]) == 1
    done_before = pixels.gathered.count([0])  # it was started, or cancelled in time
    assert pixels.levels(0) == [0]
    assert pixels.gathered.count([0]) == done_before + 1


def test_what_lives_on_the_device_need_not_be_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    images = Counted(monkeypatch)
    images._resident = images._host
    drawn: list[int] = []
    images.announce(lambda: drawn.append(3) or torch.tensor([3]))  # type: ignore[func-returns-value]
    assert images.levels(3) == [30]
    assert (images.gathered, drawn) == ([], [])  # its ids are not even drawn


def test_only_images_on_a_device_of_its_own_can_leave_it() -> None:
    source = ImageSet(np.zeros((2, 1, 1, 1), np.uint8), ("a", "b"), "drawn")
    assert not DeviceImages(source, torch.device("cpu")).resident
    elsewhere = DeviceImages(source, torch.device("meta"))
    assert elsewhere.resident
    elsewhere.leave_device()
    assert not elsewhere.resident


def test_images_take_a_share_of_what_is_free_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 4000))
    assert batches.room(torch.device("cuda")) == 250
    assert batches.room(torch.device("cpu")) == float("inf")


# -- extra images ----------------------------------------------------------------------------


def with_extra(device: str = "cpu") -> DeviceImages:
    """Images of levels 0, 10, 20 and, for stage 1 only, 30 and 40."""
    own, more = (
        ImageSet(np.array(levels, np.uint8).reshape(-1, 1, 1, 1), tuple(map(str, levels)), "drawn")
        for levels in ((0, 10, 20), (30, 40))
    )
    return DeviceImages(own, torch.device(device), more)


def test_ids_beyond_the_images_are_those_of_the_further_ones() -> None:
    pixels, ids = with_extra(), torch.tensor([4, 0, 3, 2])
    assert (len(pixels), pixels.total) == (3, 5)
    for announced in (False, True):
        if announced:
            pixels.announce(lambda: ids)
        levels = (pixels.batch(ids).view(-1) * 255).round().int().tolist()
        assert levels == [40, 0, 30, 20]
    assert pixels.mean_and_deviation()[0].item() * 255 == pytest.approx(10)


def test_further_images_that_are_forgotten_leave_the_others_as_they_were() -> None:
    pixels = with_extra()
    pixels.leave_extra()
    assert (len(pixels), pixels.total) == (3, 3)
    assert torch.equal(pixels.batch(torch.tensor([2])) * 255, torch.full((1, 1, 1, 1), 20.0))


def test_neither_set_is_copied_where_it_lies_in_memory_already() -> None:
    pixels = with_extra()
    assert pixels._resident is None
    pixels.leave_extra()
    assert pixels._resident is not None
    assert pixels._resident.data_ptr() == pixels._host.data_ptr()


def test_both_sets_live_on_a_device_of_its_own_until_the_further_one_leaves() -> None:
    pixels = with_extra("meta")
    assert pixels._resident is not None
    assert pixels._resident.shape == (5, 1, 1, 1)
    pixels.leave_extra()
    assert pixels._resident.shape == (3, 1, 1, 1)
