"""Changes of colour and sharpness. The linear ones are combined in one 3×3 matrix per image."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F

# ITU-R 601 luma, as in Pillow and torchvision.
LUMA = (0.299, 0.587, 0.114)
# One of 8 bits: what differs by less is rounding, left by a warp.
LEVEL = 1 / 255
# From RGB to YIQ: luma and two colour axes, in whose plane a turn is a change of hue.
_TO_YIQ = torch.tensor((LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))
_FROM_YIQ = torch.linalg.inv(_TO_YIQ)
_TO_GREY = torch.tensor((LUMA,) * 3)


@cache
def _constants(device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """To YIQ, from YIQ and to grey, on a device: sent there once, not with every batch."""
    return _TO_YIQ.to(device), _FROM_YIQ.to(device), _TO_GREY.to(device)


def grey_matrix(x: torch.Tensor) -> torch.Tensor:
    """(C, C) that turns a pixel into its grey; for C = 1 the identity."""
    if x.shape[1] == 1:
        return torch.ones(1, 1, device=x.device)
    return _constants(x.device)[2]


def grey_mean(x: torch.Tensor) -> torch.Tensor:
    """(M,) mean grey of each image."""
    return x.mean((2, 3)) @ grey_matrix(x)[0]


def hue_matrix(turns: torch.Tensor) -> torch.Tensor:
    """(M, 3, 3) that turns the hue by `turns` ((M,), 1 is a full turn) and keeps the luma."""
    to_yiq, from_yiq, _ = _constants(turns.device)
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    turn = torch.stack((one, zero, zero, zero, cos, -sin, zero, sin, cos), 1).view(-1, 3, 3)
    return from_yiq @ turn @ to_yiq


def recolour(
    x: torch.Tensor,
    *,
    brightness: torch.Tensor,
    contrast: torch.Tensor,
    saturation: torch.Tensor,
    hue: torch.Tensor | None = None,
    grey: torch.Tensor | None = None,
) -> torch.Tensor:
    """x with factors of brightness, contrast and saturation, a turn of hue, and some images grey.

    Args:
        x: (M, C, H, W) in 0–1.
        brightness, contrast, saturation: (M,) factors; 1 changes nothing.
        hue: (M,) turns.
        grey: (M,) bool.

    All of it is one affine map of colour for each image, in the order brightness, contrast,
    saturation, hue, grey, clipped once at the end. (The paper's pipeline shuffles the order and
    clips in between; the range of results is the same and this is one pass over the pixels.)
    """
    gain = brightness * contrast
    offset = (1 - contrast) * brightness * grey_mean(x)
    if x.shape[1] == 1:
        return (x * gain.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1)).clamp_(0, 1)
    to_grey, same = grey_matrix(x), torch.eye(3, device=x.device)
    keep = saturation.view(-1, 1, 1)
    matrix = keep * same + (1 - keep) * to_grey
    if hue is not None:
        matrix = hue_matrix(hue) @ matrix
    if grey is not None:
        matrix = torch.where(grey.view(-1, 1, 1), to_grey @ matrix, matrix)
    matrix = matrix * gain.view(-1, 1, 1)
    moved = torch.baddbmm(offset.view(-1, 1, 1), matrix, x.flatten(2))
    return moved.clamp_(0, 1).view_as(x)


def blurred(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur with `sigma` ((M,), pixels; 0 keeps an image), kernel a tenth of the side.

    Every image has a kernel of its own, so the batch becomes the channels of one image and the blur
    a depthwise convolution along each axis.
    """
    many, channels, height, width = x.shape
    radius = max(1, min(height, width) // 20)
    steps = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (steps / sigma.clamp_min(1e-3).unsqueeze(1)) ** 2)
    kernel = kernel / kernel.sum(1, keepdim=True)
    kernel = kernel.repeat_interleave(channels, 0).view(-1, 1, 1, 2 * radius + 1)
    planes = F.pad(x.reshape(1, -1, height, width), [radius] * 4, mode="replicate")
    planes = F.conv2d(planes, kernel, groups=many * channels)
    return F.conv2d(planes, kernel.transpose(2, 3), groups=many * channels).view_as(x)


def sharpened(x: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """x pushed away from (`factor` > 1) or towards (< 1) its blur; `factor` is (M,)."""
    soft = blurred(x, torch.ones_like(factor))
    return torch.lerp(soft, x, factor.view(-1, 1, 1, 1)).clamp_(0, 1)


def autocontrasted(x: torch.Tensor) -> torch.Tensor:
    """Each channel stretched to 0–1; a flat channel stays as it is."""
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    spread = high - low
    return torch.where(spread > LEVEL / 2, (x - low) / spread.clamp_min(LEVEL / 2), x)


def equalised(x: torch.Tensor) -> torch.Tensor:
    """Each channel with a flat histogram of 256 levels."""
    levels = (x * 255).round_().long().flatten(2)
    counts = torch.zeros(*levels.shape[:2], 256, device=x.device)
    counts.scatter_add_(2, levels, torch.ones_like(levels, dtype=counts.dtype))
    share = counts.cumsum(2)
    lowest = share.gather(2, levels.amin(2, keepdim=True))
    spread = (levels.shape[2] - lowest).clamp_min(1)
    flat = ((share.gather(2, levels) - lowest) / spread).view_as(x)
    return torch.where((lowest < levels.shape[2])[..., None], flat, x)


def posterised(x: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """Each channel cut to the highest `bits` ((M,), 1 to 8) of its 8."""
    step = torch.exp2(8 - bits.round()).view(-1, 1, 1, 1)
    return ((x * 255).round_().div_(step).floor_() * step / 255).clamp_(0, 1)


def solarised(x: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """Values above `threshold` ((M,) in 0–1) inverted."""
    return torch.where(x > threshold.view(-1, 1, 1, 1), 1 - x, x)
