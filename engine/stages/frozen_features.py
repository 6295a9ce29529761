"""Stage 1 with a frozen network: the features of all images, and of weak and strong views of them, computed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from engine.config import RunConfig
from engine.data.batches import DeviceImages
from engine.errors import TrainingError
from engine.events import Alarm, Emit
from engine.stages.encoder import Encoder
from engine.stages.features import ENCODE_PIXELS
from engine.stages.loop import Checkpoint, Report, run_steps, seeded
from engine.views import strong_view, weak_view

# Images whose views are drawn together. The last block of a set is drawn as a whole too, so that a view depends
# only on the seed, the image's number and the view's.
BLOCK = 64
# Views of one kind, at most: each has its own place in the stream of random numbers.
MOST_VIEWS = 64


class Rows(Protocol):
    """An array that is filled row by row, and is safe on the disk after `sync`."""

    def write(self, first: int, rows: np.ndarray) -> None: ...
    def sync(self) -> None: ...


def compute_features(
    config: RunConfig,
    pixels: DeviceImages,
    encoder: Encoder,
    clean: Rows,
    weak: Rows,
    strong: Rows,
    *,
    emit: Emit,
    stop: Callable[[], bool],
    checkpoint: Checkpoint,
) -> None:
    """Fills `clean` with the features of the N images, and `weak` and `strong` with those of their views.

    Stages 2 and 3 share what is kept, so strong views are those of stage 2 (`config.views.strong`).
    One step is a block of images in one of its views, or without any: the images of a block are brought to the
    device once. What is resumed equals what was not interrupted, to the bit.

    Args:
        encoder: on the device of `pixels`.
        clean: N rows, (D,) float32.
        weak, strong: V · N and S · N rows, (D,) float16; view v of image i is row v · N + i.

    Raises:
        Stopped: when `stop()` said so; the checkpoint is complete.
        TrainingError: when a feature is not finite.
    """
    encoder.eval()
    work = _Computation(config, pixels, encoder, (clean, weak, strong), emit)
    run_steps("features", work.steps, work.step, {"features": work}, emit=emit, stop=stop, checkpoint=checkpoint)
    work.finish()


class _Computation:
    """The steps, and the features of the last one, which may still be on their way from the device."""

    def __init__(
        self, config: RunConfig, pixels: DeviceImages, encoder: Encoder, rows: tuple[Rows, Rows, Rows], emit: Emit
    ) -> None:
        self._config, self._pixels, self._encoder, self._emit = config, pixels, encoder, emit
        settings = config.features
        self._clean, self._weak, self._strong = rows
        # Each step of a block: the array and the view within it.
        self._looks = [
            (self._clean, None),
            *((self._weak, view) for view in range(settings.weak_views)),
            *((self._strong, view) for view in range(settings.strong_views)),
        ]
        self._blocks = -(-len(pixels) // BLOCK)
        self._piece = _piece(encoder, pixels)
        self._block, self._images = -1, torch.empty(0)
        self._waiting: tuple[Rows, int, _Arriving] | None = None

    @property
    def steps(self) -> int:
        return self._blocks * len(self._looks)

    def step(self, index: int) -> Report:
        block, look = divmod(index, len(self._looks))
        rows, view = self._looks[look]
        images = self._block_of(block)
        features = self._encoded(images if view is None else self._viewed(images, block, rows is self._weak, view))
        arriving = _Arriving(features if view is None else features.half())
        self.finish()
        self._waiting = rows, (view or 0) * len(self._pixels) + block * BLOCK, arriving
        return Report({}, images=len(images))

    def _block_of(self, block: int) -> torch.Tensor:
        """The images of a block, (M, C, H, W) in 0–1; the next block is made ready in the background."""
        if block != self._block:
            self._block, self._images = block, self._pixels.batch(self._ids(block))
            if block + 1 < self._blocks:
                self._pixels.announce(lambda: self._ids(block + 1))
        return self._images

    def _ids(self, block: int) -> torch.Tensor:
        return torch.arange(block * BLOCK, min((block + 1) * BLOCK, len(self._pixels)))

    def _viewed(self, images: torch.Tensor, block: int, weak: bool, view: int) -> torch.Tensor:
        """A view of a block's images, drawn for a whole block even where there are fewer images."""
        number = (block * MOST_VIEWS + view) * 2 + (0 if weak else 1)
        chance = seeded(self._config.features.view_seed, "cached views", number, images.device)
        missing = BLOCK - len(images)
        whole = torch.cat([images, images[:1].expand(missing, -1, -1, -1)]) if missing else images
        views = self._config.views
        drawn = weak_view(whole, views.weak, chance) if weak else strong_view(whole, views.strong, chance)
        return drawn[: len(images)]

    @torch.inference_mode()
    def _encoded(self, x: torch.Tensor) -> torch.Tensor:
        """(M, D) float32 on the device, in smaller pieces once its memory has run out."""
        while True:
            try:
                return torch.cat([self._encoder(part) for part in x.split(self._piece)])
            except torch.OutOfMemoryError:
                if self._piece == 1:
                    raise
            self._piece = max(1, self._piece // 2)
            torch.cuda.empty_cache()
            cause = f"{self._pixels.device} ran out of memory"
            self._emit(Alarm("features", cause, "from now on the network takes smaller batches, which is slower"))

    def finish(self) -> None:
        """Writes what was computed last."""
        if self._waiting is None:
            return
        rows, first, arriving = self._waiting
        features, self._waiting = arriving.array(), None
        if not np.isfinite(features).all():
            image = first % len(self._pixels) + int(np.flatnonzero(~np.isfinite(features).all(1))[0])
            raise TrainingError(
                f"the features of image {image:,} are not finite: choose another network, or compute.precision=float32"
            )
        rows.write(first, features)

    # -- as a part of the checkpoint ---------------------------------------------------------------

    def state_dict(self) -> dict[str, int]:
        """Nothing but what the loop knows: the features of the steps so far are safe on the disk."""
        self.finish()
        for rows in (self._clean, self._weak, self._strong):
            rows.sync()
        return {}

    def load_state_dict(self, state: dict[str, int], /) -> None:
        del state


class _Arriving:
    """Features on their way to the host: on a GPU the next step is queued while they are copied."""

    def __init__(self, features: torch.Tensor) -> None:
        # Only CUDA says when such a copy is there.
        self._event = torch.cuda.Event() if features.device.type == "cuda" else None
        self._host = features.to("cpu", non_blocking=self._event is not None)
        if self._event is not None:
            self._event.record()

    def array(self) -> np.ndarray:
        if self._event is not None:
            self._event.synchronize()
        return self._host.numpy()


def _piece(encoder: Encoder, pixels: DeviceImages) -> int:
    """Images that go through the network at once: as many as fit after they are scaled to its side."""
    return max(1, min(BLOCK, ENCODE_PIXELS // max(pixels.area, (encoder.side or 0) ** 2)))
