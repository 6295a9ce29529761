from __future__ import annotations

import pytest
import torch
from torch import nn

from engine.config import EncoderSettings
from engine.stages.encoder import Encoder, Heads, SplitBatchNorm, initialise


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    initialise(module, torch.Generator().manual_seed(seed))
    return module


def test_split_norm_normalises_each_group_by_itself() -> None:
    x = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    split, whole = SplitBatchNorm(3, 2).train(), nn.BatchNorm2d(3).train()
    for layout in (torch.contiguous_format, torch.channels_last):
        out = split(x.contiguous(memory_format=layout))
        assert out.is_contiguous(memory_format=layout)
        torch.testing.assert_close(out[:4], whole(x[:4]).contiguous(memory_format=layout))
        torch.testing.assert_close(out[4:], whole(x[4:]).contiguous(memory_format=layout))


def test_split_norm_remembers_the_mean_of_the_groups() -> None:
    x = torch.stack([torch.full((1, 1, 1), float(v)) for v in (1, 1, 3, 3)])
    split = SplitBatchNorm(1, 2).train()
    split(x)
    assert split.running_mean is not None
    assert split.running_mean.item() == pytest.approx(0.1 * 2)


def test_split_norm_is_an_ordinary_norm_when_it_does_not_train() -> None:
    x = torch.randn(4, 2, 3, 3)
    split = SplitBatchNorm(2, 2).eval()
    torch.testing.assert_close(split(x), nn.BatchNorm2d(2).eval()(x))


@pytest.mark.parametrize(
    ("backbone", "channels", "side", "size"),
    [
        ("small", 1, 8, 64),
        ("small", 3, 32, 64),
        ("resnet18", 1, 32, 512),
        ("resnet18", 3, 96, 512),
        ("resnet34", 1, 160, 512),
    ],
)
def test_an_encoder_gives_vectors_of_its_size(backbone: str, channels: int, side: int, size: int) -> None:
    settings = EncoderSettings(backbone=backbone)  # type: ignore[arg-type]
    encoder = Encoder(settings, channels=channels, side=side).eval()
    assert encoder.features == size
    assert encoder(torch.rand(2, channels, side, side)).shape == (2, size)


@pytest.mark.parametrize(
    ("backbone", "side", "blocks", "positions"),
    [
        ("resnet18", 64, 8, 8),
        ("resnet18", 96, 8, 3),
        ("resnet34", 32, 16, 2),
        ("resnet34", 96, 16, 6),
        ("resnet34", 160, 16, 5),
    ],
)
def test_a_resnet_sees_small_images_finely(backbone: str, side: int, blocks: int, positions: int) -> None:
    """A block halves the side three times; the stem before it by 1, 2 or, for large images, 4."""
    settings = EncoderSettings(backbone=backbone)  # type: ignore[arg-type]
    network = Encoder(settings, channels=3, side=side).eval().backbone
    seen = []
    network.layer4.register_forward_hook(lambda _layer, _x, out: seen.append(out.shape[2:]))  # type: ignore[operator, union-attr]
    network(torch.rand(1, 3, side, side))
    assert seen == [(positions, positions)]
    assert sum(len(getattr(network, f"layer{part}")) for part in range(1, 5)) == blocks


def test_an_encoder_centres_and_scales_its_pixels_itself() -> None:
    encoder = seeded(Encoder(EncoderSettings(backbone="small"), channels=1, side=8)).eval()
    x = torch.rand(2, 1, 8, 8)
    plain = encoder(x)
    encoder.mean.fill_(0.5)  # type: ignore[operator, union-attr]
    encoder.deviation.fill_(0.25)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(encoder(x * 0.25 + 0.5), plain)


def test_heads_together_equal_each_head_alone() -> None:
    heads = seeded(Heads(3, 5, 4))
    assert isinstance(heads, Heads)
    x = torch.randn(7, 5)
    together = heads(x)
    assert together.shape == (3, 7, 4)
    for index in range(3):
        torch.testing.assert_close(heads.one(index)(x)[0], together[index])
    torch.testing.assert_close(heads(x.expand(3, 7, 5)), together)


def test_initial_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = seeded(Encoder(EncoderSettings(backbone="small"), channels=1, side=8), 5)
    torch.manual_seed(2)
    second = seeded(Encoder(EncoderSettings(backbone="small"), channels=1, side=8), 5)
    other = seeded(Encoder(EncoderSettings(backbone="small"), channels=1, side=8), 6)
    weights = [dict(m.named_parameters())["backbone.0.weight"] for m in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("backbone", "spread"), [("resnet18", (2 / (9 * 128)) ** 0.5), ("small", (1 / (3 * 9 * 32)) ** 0.5)]
)
def test_a_resnets_convolutions_begin_as_published(backbone: str, spread: float) -> None:
    encoder = Encoder(EncoderSettings(backbone=backbone, width=16), channels=3, side=32)  # type: ignore[arg-type]
    initialise(encoder, torch.Generator().manual_seed(0))
    weights = [each.weight for each in encoder.modules() if isinstance(each, nn.Conv2d)]
    # ResNet-18's with 128 outputs, and those of the small network with 32 inputs, of 3×3 each.
    found = [
        one
        for one in weights
        if one.shape[2:] == (3, 3)
        and one.shape[0 if backbone == "resnet18" else 1] == (128 if backbone == "resnet18" else 32)
    ]
    assert len(found) >= 2
    for one in found:
        assert one.std().item() == pytest.approx(spread, rel=0.03)
