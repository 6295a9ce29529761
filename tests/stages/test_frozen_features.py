"""Features of images and of their views by a frozen network: what is in each row, whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from engine.config import EncoderSettings, RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.errors import Stopped, TrainingError
from engine.events import Alarm, Event, Progress, StageFinished, StageStarted
from engine.presets import preset
from engine.stages.encoder import Encoder, initialise
from engine.stages.frozen_features import BLOCK, compute_features
from tests.fake_cuda import FakeCuda

N, D = 150, 16  # two blocks and a part of one
CPU = torch.device("cpu")


class Table:
    """Rows in memory; `safe` are those that have been synced."""

    def __init__(self, rows: int, kind: type[Any]) -> None:
        self.rows = np.full((rows, D), np.nan, kind)
        self.safe = self.rows.copy()

    def write(self, first: int, rows: np.ndarray) -> None:
        assert rows.dtype == self.rows.dtype
        self.rows[first : first + len(rows)] = rows

    def sync(self) -> None:
        self.safe = self.rows.copy()


class Tables:
    def __init__(self, weak: int, strong: int, images: int = N) -> None:
        self.clean = Table(images, np.float32)
        self.weak = Table(weak * images, np.float16)
        self.strong = Table(strong * images, np.float16)

    def __iter__(self) -> Any:
        return iter((self.clean, self.weak, self.strong))


class Memory:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.state: dict[str, Any] | None = None

    def load(self) -> dict[str, Any] | None:
        return self.state

    def save(self, state: dict[str, Any]) -> None:
        self.state = state


def images(count: int = N) -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 12, 12), dtype=np.uint8)
    return ImageSet(pixels, tuple(map(str, range(count))), "drawn")


def settings(weak: int = 2, strong: int = 3, **changes: Any) -> RunConfig:
    start = {
        "features.source": "encoder:some",
        "features.epochs": 0,
        "features.weak_views": weak,
        "features.strong_views": strong,
    }
    return with_settings(preset("quick", clusters=3, channels=3), {**start, **changes})


def network() -> Encoder:
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=3, side=12)
    initialise(encoder, torch.Generator().manual_seed(0))
    return encoder


class Counted(nn.Module):
    """An encoder that counts the images it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.images = inner, list[int]()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.images.append(len(x))
        return self.inner(x)


def never() -> bool:
    return False


def computed(
    config: RunConfig,
    tables: Tables,
    *,
    stop: Callable[[], bool] = never,
    checkpoint: Memory | None = None,
    encoder: Encoder | None = None,
    pixels: DeviceImages | None = None,
) -> list[Event]:
    said: list[Event] = []
    compute_features(
        config,
        pixels or DeviceImages(images(), CPU),
        encoder or network(),
        *tables,
        emit=said.append,
        stop=stop,
        checkpoint=checkpoint or Memory(),
    )
    return said


def test_clean_features_are_those_of_the_encoder() -> None:
    tables = Tables(0, 0)
    computed(settings(0, 0), tables)
    encoder = network().eval()
    with torch.inference_mode():
        direct = encoder(torch.from_numpy(images().pixels).float() / 255)
    np.testing.assert_allclose(tables.clean.rows, direct.numpy(), rtol=1e-4, atol=1e-5)


def test_each_row_is_of_its_image_and_its_view() -> None:
    # Views that change nothing: every row must be the image's own.
    views = {
        "views.weak.flip": 0.0,
        "views.weak.shift": 0.0,
        "views.strong.flip": 0.0,
        "views.strong.operations": 0,
        "views.strong.cutout": 0.0,
    }
    tables = Tables(2, 3)
    computed(settings(**views), tables)
    for table, count in ((tables.weak, 2), (tables.strong, 3)):
        for view in table.rows.reshape(count, N, D):
            np.testing.assert_allclose(view, tables.clean.rows, rtol=2e-2, atol=2e-3)


def test_views_are_drawn_at_the_images_own_size_and_only_then_scaled() -> None:
    seen: list[tuple[int, ...]] = []
    encoder = Encoder(EncoderSettings(backbone="small", width=4), channels=3, side=20, fixed_side=True)
    initialise(encoder, torch.Generator().manual_seed(0))
    encoder.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[2:])))
    encoder.backbone.get_submodule("0").register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[2:])))
    computed(settings(1, 1), Tables(1, 1), encoder=encoder)
    assert seen == [(12, 12), (20, 20)] * 9


def test_views_differ_from_each_other_and_hang_on_their_seed() -> None:
    one, again, other = Tables(2, 2), Tables(2, 2), Tables(2, 2)
    computed(settings(2, 2), one)
    computed(settings(2, 2, seed=5), again)
    computed(settings(2, 2, **{"features.view_seed": 1}), other)
    for name in ("weak", "strong"):
        rows = getattr(one, name).rows
        assert np.array_equal(rows, getattr(again, name).rows)  # the run's seed is for what comes after
        assert not np.array_equal(rows, getattr(other, name).rows)
        assert not np.array_equal(rows[:N], rows[N:])


def test_a_view_depends_on_its_own_number_alone_not_on_how_many_there_are() -> None:
    few, many = Tables(1, 1), Tables(3, 4)
    computed(settings(1, 1), few)
    computed(settings(3, 4), many)
    assert np.array_equal(few.weak.rows, many.weak.rows[:N])
    assert np.array_equal(few.strong.rows, many.strong.rows[:N])


@pytest.mark.parametrize("count", [1, BLOCK - 1, BLOCK, BLOCK + 1])
def test_the_views_of_an_image_are_the_same_in_a_smaller_set(count: int) -> None:
    whole, part = Tables(1, 1), Tables(1, 1, count)
    computed(settings(1, 1), whole)
    some = ImageSet(images().pixels[:count], images().ids[:count], "some")
    computed(settings(1, 1), part, pixels=DeviceImages(some, CPU))
    # Sums may be in another order in another size of batch.
    np.testing.assert_allclose(part.weak.rows, whole.weak.rows[:count], rtol=2e-3, atol=1e-3)
    np.testing.assert_allclose(part.strong.rows, whole.strong.rows[:count], rtol=2e-3, atol=1e-3)


def test_views_are_those_of_the_settings() -> None:
    changes = {"views.weak.flip": 1.0, "views.weak.shift": 0.0, "views.strong.operations": 0}
    changes |= {"views.strong.flip": 1.0, "views.strong.cutout": 0.0}
    tables = Tables(1, 1)
    computed(settings(1, 1, **changes), tables)
    encoder = network().eval()
    x = torch.from_numpy(images().pixels[:BLOCK]).float() / 255
    with torch.inference_mode():
        mirrored = encoder(x.flip(3))
    for table in (tables.weak, tables.strong):
        np.testing.assert_allclose(table.rows[:BLOCK], mirrored.numpy(), rtol=2e-2, atol=2e-3)


# -- stopping ----------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1, 4, 7, 17])
def test_what_was_stopped_and_resumed_equals_what_was_not(after: int) -> None:
    whole, broken, kept = Tables(2, 3), Tables(2, 3), Memory()
    computed(settings(), whole)
    questions = iter(range(1000))
    with pytest.raises(Stopped):
        computed(settings(), broken, stop=lambda: next(questions) == after, checkpoint=kept)
    # A crash after the stop loses everything that was not safe on the disk.
    for table in broken:
        table.rows = table.safe.copy()
    encoder = network()
    counted = Counted(encoder.backbone)
    encoder.backbone = counted
    computed(settings(), broken, checkpoint=kept, encoder=encoder)
    for one, other in zip(whole, broken, strict=True):
        assert np.isfinite(one.rows).all()
        assert np.array_equal(one.rows, other.rows)
    sizes = [64] * 6 + [64] * 6 + [22] * 6
    assert counted.images == sizes[after:]


def test_a_crash_between_two_checkpoints_is_made_good() -> None:
    class Crash(Exception):
        pass

    whole, broken, kept = Tables(2, 3), Tables(2, 3), Memory()
    computed(settings(), whole)
    questions = iter(range(1000))
    with pytest.raises(Stopped):
        computed(settings(), broken, stop=lambda: next(questions) == 5, checkpoint=kept)

    def crash() -> bool:
        if next(questions) > 11:
            raise Crash
        return False

    with pytest.raises(Crash):
        computed(settings(), broken, stop=crash, checkpoint=kept)
    for table in broken:
        table.rows = table.safe.copy()
    computed(settings(), broken, checkpoint=kept)
    assert all(np.array_equal(one.rows, other.rows) for one, other in zip(whole, broken, strict=True))


def test_progress_counts_blocks_in_each_view_and_images_a_second() -> None:
    said = computed(settings(), Tables(2, 3))
    assert said[0] == StageStarted("features", 18)
    assert isinstance(said[-1], StageFinished)
    last = [one for one in said if isinstance(one, Progress)][-1]
    assert (last.step, last.losses) == (18, {})
    assert last.images_per_second > 0


def test_each_image_is_brought_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, asked = DeviceImages(images(), CPU), list[int]()
    bring = pixels.batch

    def counted(ids: torch.Tensor) -> torch.Tensor:
        asked.extend(ids.tolist())
        return bring(ids)

    monkeypatch.setattr(pixels, "batch", counted)
    computed(settings(), Tables(2, 3), pixels=pixels)
    assert asked == list(range(N))


def test_features_that_are_not_finite_are_refused_with_the_image() -> None:
    encoder = network()
    image = torch.from_numpy(images().pixels[70]).float() / 255

    def spoilt(_: nn.Module, x: tuple[torch.Tensor], out: torch.Tensor) -> torch.Tensor:
        hit = (x[0] == image).all((1, 2, 3))
        return torch.where(hit[:, None], torch.inf, out)

    encoder.register_forward_hook(spoilt)
    with pytest.raises(TrainingError, match="the features of image 70 are not finite"):
        computed(settings(), Tables(2, 3), encoder=encoder)


# -- on a GPU ----------------------------------------------------------------------------------


def test_on_a_gpu_the_features_are_the_cpus() -> None:
    here, there = Tables(2, 3), Tables(2, 3)
    computed(settings(), here)
    with FakeCuda() as gpu:
        computed(settings(), there, encoder=network().to(gpu.device), pixels=DeviceImages(images(), gpu.device))
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.rows, other.rows)


def test_a_full_gpu_takes_smaller_pieces_and_says_so() -> None:
    encoder = network()

    def small_only(_: nn.Module, x: tuple[torch.Tensor]) -> None:
        if len(x[0]) > 20:
            raise torch.OutOfMemoryError

    encoder.register_forward_pre_hook(small_only)
    tables, plain = Tables(0, 0), Tables(0, 0)
    said = computed(settings(0, 0), tables, encoder=encoder)
    computed(settings(0, 0), plain)
    np.testing.assert_allclose(tables.clean.rows, plain.clean.rows, rtol=1e-4, atol=1e-5)
    assert len({one for one in said if isinstance(one, Alarm)}) == 1
