"""Views per second: ours, kornia's, and the usual per-image pipeline with two workers.

All three make MoCo v2's contrastive view of 32×32 colour images in memory. They take turns, so that a
busy moment of the machine affects all of them; ratios are of medians.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import table, write
from engine.config import ViewSettings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.views import contrastive_view, strong_view, weak_view

IMAGES, BATCH, ROUNDS, WORKERS = 4096, 256, 7, 2
PER_IMAGE = f"PIL, DataLoader with {WORKERS} workers"


def drawn_images() -> ImageSet:
    """Smooth random colour images: noise at a quarter of the resolution, enlarged."""
    coarse = torch.rand(IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixels = torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1)
    return ImageSet((pixels * 255).byte().numpy(), tuple(map(str, range(IMAGES))), "drawn")


def batched(view: Callable[[torch.Tensor], torch.Tensor], pixels: DeviceImages) -> int:
    """Makes one view of every image, batch by batch; returns their number."""
    for ids in torch.randperm(IMAGES).split(BATCH):
        view(pixels.batch(ids))
    return IMAGES


def kornia_pipeline() -> torch.nn.Module:
    import kornia.augmentation as augment

    return augment.AugmentationSequential(
        augment.RandomResizedCrop((32, 32), scale=(0.2, 1)),
        augment.RandomHorizontalFlip(p=0.5),
        augment.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        augment.RandomGrayscale(p=0.2),
        augment.RandomGaussianBlur((3, 3), (0.1, 2.0), p=0.5),
        same_on_batch=False,
    )


class PerImage(Dataset[torch.Tensor]):
    """One PIL image at a time through torchvision's `view`, as the published code does."""

    def __init__(self, pixels: np.ndarray, view: Callable[[Any], torch.Tensor]) -> None:
        from PIL import Image

        self.images = [Image.fromarray(one.transpose(1, 2, 0)) for one in pixels]
        self.view = view

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.view(self.images[index])


def contrastive_per_image() -> Callable[[Any], torch.Tensor]:
    """MoCo v2's view of one image."""
    from torchvision import transforms

    return transforms.Compose(
        [
            transforms.RandomResizedCrop(32, scale=(0.2, 1.0)),
            transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
            transforms.RandomGrayscale(p=0.2),
            transforms.RandomApply([transforms.GaussianBlur(3, (0.1, 2.0))], p=0.5),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
        ]
    )


def contestants() -> dict[str, Callable[[], int]]:
    """Functions that make one view of every image: ours, two others, and our weak and strong views."""
    source = drawn_images()
    pixels, chance = DeviceImages(source, torch.device("cpu")), torch.Generator().manual_seed(0)
    views, pipeline = ViewSettings(), kornia_pipeline()
    loader = DataLoader(
        PerImage(source.pixels, contrastive_per_image()),
        BATCH,
        shuffle=True,
        num_workers=WORKERS,
        persistent_workers=True,
    )
    return {
        "ours": lambda: batched(lambda x: contrastive_view(x, views.contrastive, chance), pixels),
        "kornia": lambda: batched(pipeline, pixels),
        PER_IMAGE: lambda: sum(len(batch) for batch in loader),
        "ours, weak": lambda: batched(lambda x: weak_view(x, views.weak, chance), pixels),
        "ours, strong": lambda: batched(lambda x: strong_view(x, views.strong, chance), pixels),
    }


def measure() -> None:
    """Writes results/views."""
    runs = contestants()
    pace: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            made = run()
            if round_:  # the first round warms up: threads, workers, caches
                pace[name].append(round(made / (time.perf_counter() - began), 1))
    median = {name: statistics.median(values) for name, values in pace.items()}
    ratio = {name: median["ours"] / median[name] for name in ("kornia", PER_IMAGE)}
    rows = [
        [
            name,
            f"{median[name]:,.0f}",
            f"{min(values):,.0f} – {max(values):,.0f}",
            f"{ratio[name]:.1f} ×" if name in ratio else "",
        ]
        for name, values in pace.items()
    ]
    body = (
        f"The contrastive view (crop, flip, colour jitter, grey, blur) of {IMAGES:,} colour images "
        f"of 32×32, batches of {BATCH}, {torch.get_num_threads()} threads, {ROUNDS} rounds in turn; "
        "weak and strong views for comparison.\n\n"
        + table(["pipeline", "views/s, median", "range", "ours is faster by"], rows)
    )
    write("views", "Views per second", {"views_per_second": pace, "ratio": ratio}, body)
