"""Networks: backbones that turn images into features, the adapter on a frozen one, the contrastive projector, and
heads."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from engine.config import EncoderSettings
from engine.errors import TrainingError
from engine.views.tone import grey_matrix

# How images are scaled, by torch's names.
Interpolation = Literal["bilinear", "bicubic"]
# An adapter's directions: of efficientnet-lite0's features of clothes 128 are as good as all 1,280 (neighbours of
# one class .680 and .674), and stage 2's heads are as wide as their features.
WIDTH, BLOCK = 256, 2**14
# Unit features whose variance (1 minus their mean cosine) is below this differ by rounding alone.
SAME = 1e-12


class SplitBatchNorm(nn.BatchNorm2d):
    """Batch normalisation in `groups` parts of the batch, each with its own statistics.

    It replaces the authors' four devices: in MoCo an image and its key are normalised with different images, so
    that shared batch statistics cannot give them away. Every batch in eval mode, and any batch that `groups`
    does not divide, is normalised as a whole.
    """

    def __init__(self, channels: int, groups: int, after: nn.Module | None = None) -> None:
        """`after`: what a norm of timm does besides, without weights of its own."""
        super().__init__(channels)
        self.groups = groups
        self.after = nn.Identity() if after is None else after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.groups == 1 or len(x) % self.groups:
            return self.after(super().forward(x))
        assert self.running_mean is not None  # for the type checker: this norm keeps statistics
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        # A group is a run of neighbours in the batch: a slice, in whatever memory layout.
        mean, var = (self.running_mean.repeat(self.groups, 1), self.running_var.repeat(self.groups, 1))
        parts = [
            F.batch_norm(
                part,
                mean[group],
                var[group],
                self.weight,
                self.bias,
                training=True,
                momentum=float(self.momentum or 0.1),
                eps=self.eps,
            )
            for group, part in enumerate(x.chunk(self.groups))
        ]
        with torch.no_grad():
            self.running_mean.copy_(mean.mean(0))
            self.running_var.copy_(var.mean(0))
            self.num_batches_tracked += 1
        return self.after(torch.cat(parts))


def whole_norms(module: nn.Module) -> None:
    """Normalises every batch as a whole from now on: only MoCo needs its parts."""
    for layer in module.modules():
        if isinstance(layer, SplitBatchNorm):
            layer.groups = 1


class Residual(nn.Module):
    """x + two 3×3 convolutions of it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = convolution(channels, channels)
        self.first_norm = nn.BatchNorm2d(channels)
        self.second_norm = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = F.relu(self.first_norm(self.first(x)))
        return F.relu(x + self.second_norm(self.second(inner)))


def convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


def small_backbone(channels: int, width: int) -> tuple[nn.Module, int]:
    """A network that trains on a laptop, with 4·width features."""

    def grow(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [convolution(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [
        *grow(channels, width, 1),
        Residual(width),
        *grow(width, 2 * width, 2),
        Residual(2 * width),
        *grow(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ]
    return nn.Sequential(*layers), 4 * width


def resnet_backbone(name: str, channels: int, side: int) -> tuple[nn.Module, int]:
    """ResNet-18 or -34 with 512 features, and a 3×3 stem for small images as the authors have it:
    in ResNet-18 up to 64 pixels without pooling, in ResNet-34 up to 128 pixels with pooling by 2.
    """
    from torchvision.models import resnet18, resnet34

    network = resnet18() if name == "resnet18" else resnet34()
    if side <= (64 if name == "resnet18" else 128):
        network.conv1 = convolution(channels, 64)
        network.maxpool = nn.Identity() if name == "resnet18" else nn.MaxPool2d(2)
    elif channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
    network.fc = nn.Identity()
    return network, 512


class Encoder(nn.Module):
    """The feature model: (M, C, H, W) in 0–1 → (M, D) float32.

    It centres and scales the pixels itself, by the `mean` and `deviation` ((C,)) of its images, so
    that a stored encoder is complete.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self,
        settings: EncoderSettings,
        *,
        channels: int,
        side: int,
        norm_groups: int = 1,
        fixed_side: bool = False,
        network: tuple[nn.Module, int] | None = None,
        interpolation: Interpolation = "bilinear",
    ) -> None:
        """`side`: of its images; if `fixed_side`, others are scaled to it by `interpolation`.

        All of an image is seen, also by networks that were trained to see its middle: what part of a photograph
        becomes the square was chosen when it was imported.

        Images of other `channels` are taken too: grey becomes colour, and colour grey. `network`, a
        backbone and its number of features, takes the place of the one in `settings`.
        """
        super().__init__()
        self.resnet = network is None and settings.backbone != "small"
        if network is not None:
            self.backbone, self.features = network
        elif settings.backbone == "small":
            self.backbone, self.features = small_backbone(channels, settings.width)
        else:
            self.backbone, self.features = resnet_backbone(settings.backbone, channels, side)
        if norm_groups > 1:
            _split_norms(self.backbone, norm_groups)
        self.channels, self.side = channels, side if fixed_side else None
        self.interpolation = interpolation
        # Set by the code that knows the device: products in bfloat16, and the layout of the pixels.
        self.narrow, self.memory_format = False, torch.contiguous_format
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._fitted(x)
        # Straight into the network's layout: beside a small network, each pass over the pixels counts.
        batch = torch.empty_like(x, memory_format=self.memory_format)
        torch.sub(x, self.mean[:, None, None], out=batch).div_(self.deviation[:, None, None])
        # Only a call of the backbone itself is compiled: batches to be encoded vary in size, and
        # each size would be compiled again.
        network = self.backbone if self.training else self.backbone.forward
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.narrow):
            features = network(batch)
        return features.float()

    def _fitted(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] < self.channels:
            x = x.expand(-1, self.channels, -1, -1)
        elif x.shape[1] > self.channels:
            x = torch.einsum("c,mchw->mhw", grey_matrix(x)[0], x).unsqueeze(1)
        if self.side is None:
            return x
        if x.shape[2:] != (self.side, self.side):
            x = F.interpolate(x, (self.side, self.side), mode=self.interpolation, antialias=True).clamp_(0, 1)
        return x


def _split_norms(module: nn.Module, groups: int) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            # timm's norms have their activation within them.
            after = [getattr(child, part, None) for part in ("drop", "act")]
            split = SplitBatchNorm(
                child.num_features, groups, nn.Sequential(*(one for one in after if isinstance(one, nn.Module)))
            )
            split.eps, split.momentum = child.eps, child.momentum
            setattr(module, name, split)
        else:
            _split_norms(child, groups)


class Adapter(nn.Module):
    """Features of a frozen network (M, D) → (M, P), P = min(256, D, N).

    The features are scaled to length 1 and projected onto their leading directions (PCA, by one common factor so
    that their mean square is about 1); a residual MLP is added. It begins as zero: stage 3 trains it.
    """

    mean: torch.Tensor
    directions: torch.Tensor

    def __init__(self, inputs: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("directions", torch.zeros(inputs, features))
        self.inner, self.norm = nn.Linear(features, features), nn.BatchNorm1d(features)
        self.outer = nn.Linear(features, features)

    @classmethod
    def on(cls, vectors: np.ndarray, generator: torch.Generator) -> Adapter:
        """The adapter of clean images' features (N, D), on the CPU, in eval mode.

        Raises:
            TrainingError: when all of them point the same way.
        """
        images, inputs = vectors.shape
        adapter = cls(inputs, min(WIDTH, inputs, images))
        initialise(adapter, generator)
        for weight in (adapter.outer.weight, adapter.outer.bias):
            nn.init.zeros_(weight)
        mean, directions = _leading(vectors, adapter.features)
        adapter.mean.copy_(mean)
        adapter.directions.copy_(directions)
        return adapter.eval()

    @classmethod
    def of(cls, state: dict[str, torch.Tensor]) -> Adapter:
        """The adapter with these weights."""
        adapter = cls(*state["directions"].shape)
        adapter.load_state_dict(state)
        return adapter.eval()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        x = (F.normalize(vectors, dim=1) - self.mean) @ self.directions
        return x + self.outer(F.relu(self.norm(self.inner(x))))


@torch.no_grad()
def adapted(adapter: Adapter, vectors: np.ndarray) -> np.ndarray:
    """(N, P) float32: what the adapter makes of features (N, D)."""
    device, out = adapter.mean.device, np.empty((len(vectors), adapter.features), np.float32)
    for start in range(0, len(vectors), BLOCK):
        block = torch.from_numpy(np.array(vectors[start : start + BLOCK])).to(device)
        out[start : start + BLOCK] = adapter(block).cpu().numpy()
    return out


def _leading(vectors: np.ndarray, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean (D,) of unit vectors and their `count` leading directions (D, count), scaled by one factor."""
    total, moments = torch.zeros(vectors.shape[1]).double(), torch.zeros(2 * vectors.shape[1:]).double()
    for start in range(0, len(vectors), BLOCK):
        unit = F.normalize(torch.from_numpy(np.array(vectors[start : start + BLOCK])), dim=1).double()
        total += unit.sum(0)
        moments += unit.T @ unit
    mean = total / len(vectors)
    values, directions = torch.linalg.eigh(moments / len(vectors) - mean.outer(mean))
    if values.clamp_min(0).sum() < SAME:
        raise TrainingError(
            f"the features of all {len(vectors):,} images point the same way: expected features that differ; use other "
            "vectors or another network"
        )
    values, directions = values.flip(0)[:count], directions.flip(1)[:, :count]
    # An eigenvector's sign is chance: its largest entry is made positive.
    signs = directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return mean.float(), (directions * signs / values.clamp_min(0).mean().sqrt().clamp_min(1e-12)).float()


class Projector(nn.Module):
    """The two layers between features and the contrastive loss, (M, D) → (M, P) of length 1.

    `norm` puts a batch normalisation between them: BYOL collapses without it.
    """

    def __init__(self, features: int, hidden: int, projection: int, *, norm: bool = False) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, hidden)
        self.norm = nn.BatchNorm1d(hidden) if norm else nn.Identity()
        self.out = nn.Linear(hidden, projection)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.raw(features), dim=1)

    def raw(self, features: torch.Tensor) -> torch.Tensor:
        """(M, P) of any length."""
        return self.out(F.relu(self.norm(self.hidden(features))))


class Heads(nn.Module):
    """H clustering heads, each an MLP D–D–K, as batched matrix products (paper, section III-B).

    Features (M, D), shared, or (H, M, D), each head its own → logits (H, M, K).
    """

    def __init__(self, heads: int, features: int, clusters: int) -> None:
        super().__init__()
        self.hidden_weight = nn.Parameter(torch.empty(heads, features, features))
        self.hidden_bias = nn.Parameter(torch.zeros(heads, 1, features))
        self.out_weight = nn.Parameter(torch.empty(heads, features, clusters))
        self.out_bias = nn.Parameter(torch.zeros(heads, 1, clusters))

    def __len__(self) -> int:
        return len(self.out_weight)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        inner = F.relu(features @ self.hidden_weight + self.hidden_bias)
        return inner @ self.out_weight + self.out_bias

    def logits_of(self, index: int, features: torch.Tensor) -> torch.Tensor:
        """(M, K): logits of head `index` alone, for features (M, D); in place, so that no second table is made."""
        inner = (features @ self.hidden_weight[index]).add_(self.hidden_bias[index]).relu_()
        return (inner @ self.out_weight[index]).add_(self.out_bias[index])

    def one(self, index: int) -> Heads:
        """A copy of head `index` alone."""
        _, features, clusters = self.out_weight.shape
        alone = Heads(1, features, clusters).to(self.out_weight.device)
        alone.load_state_dict({name: value[index : index + 1] for name, value in self.state_dict().items()})
        return alone


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator) -> None:
    """Re-initialises all weights from a CPU `generator`, uniform in ±1/√fan-in as torch does by default; those of a
    ResNet's convolutions normal with variance 2/fan-out, as they are published (He et al., arXiv 1502.01852,
    equation 14). Batch normalisation hides the size of weights, but the smaller they are, the faster they turn.

    Torch's own initialisation uses the process-wide generator, which other threads share.
    """
    resnets = [one.backbone for one in module.modules() if isinstance(one, Encoder) and one.resnet]
    published = {layer for backbone in resnets for layer in backbone.modules()}
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer in published:
            fan_out = layer.out_channels * math.prod(layer.kernel_size)
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * math.sqrt(2 / fan_out))
            continue
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * math.prod(layer.kernel_size)
            drawn = [layer.weight]
        elif isinstance(layer, nn.Linear):
            fan_in = layer.in_features
            drawn = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        elif isinstance(layer, Heads):
            fan_in = layer.hidden_weight.shape[1]
            drawn = [layer.hidden_weight, layer.out_weight]
            layer.hidden_bias.zero_()
            layer.out_bias.zero_()
        else:
            continue
        for weight in drawn:
            weight.copy_((torch.rand(weight.shape, generator=generator) * 2 - 1) / math.sqrt(fan_in))
