"""The arithmetic of each preset: floating-point operations of the three stages, counted, not timed."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.report import table, write
from benchmarks.speed import SIDE, drawn
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.presets import preset
from engine.stages.contrast import objective_of
from engine.stages.features import build_encoder

IMAGES, FEW = 50_000, 16


def counted(config: RunConfig) -> dict[str, float]:
    """PFLOP (10^15 multiplications and additions) of each stage on 50,000 colour images of 32×32."""
    pixels = DeviceImages(drawn(FEW), torch.device("cpu"))
    encoder = build_encoder(config, pixels, channels=3, side=SIDE)
    x = torch.rand(FEW, 3, SIDE, SIDE)
    objective = objective_of(
        config.features, encoder, batch=FEW, images=FEW, generator=torch.Generator().manual_seed(0)
    )
    with FlopCounterMode(display=False) as step:
        objective(x, x).backward()
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        encoder(x)
    train, see = step.get_total_flops() / FEW, forward.get_total_flops() / FEW
    heads, joint = config.heads, config.joint
    size, clusters = encoder.features, config.clusters
    # Forward and backward pass of a head, per image: three times D·D + D·K multiply-adds.
    head = 3 * 2 * (size**2 + size * clusters)
    return {
        "stage 1": config.features.epochs * IMAGES * train / 1e15,
        "stage 2": heads.epochs * heads.images * (2 * see + heads.passes * heads.heads * head) / 1e15,
        "stage 3": joint.steps * joint.batch * (3 + 4 * joint.unlabelled) * see / 1e15,
    }


def measure() -> None:
    """Writes results/operations."""
    configs = {
        "fast": preset("fast", clusters=10, channels=3),
        "paper": preset("paper", clusters=10, channels=3),
        "fast, stage 1 by asymmetric MoCo, 400 epochs": with_settings(
            preset("fast", clusters=10, channels=3), {"features.objective": "moco", "features.epochs": 400}
        ),
        "quick": preset("quick", clusters=10, channels=3),
    }
    found = {name: counted(config) for name, config in configs.items()}
    rows = [
        [name, *(f"{one[stage]:,.3g}" for stage in one), f"{sum(one.values()):,.3g}"] for name, one in found.items()
    ]
    body = (
        f"PFLOP (10^15 multiplications and additions) of each preset on {IMAGES:,} colour images of "
        f"{SIDE}×{SIDE}, K = 10, counted by torch on one step of each stage; views, neighbours and "
        "k-means are not counted. A backward pass counts as two forward passes.\n\n"
        + table(["preset", "stage 1", "stage 2", "stage 3", "all"], rows)
    )
    write("operations", "Operations", found, body)
