"""`Model`: pixels of any images in, class, confidence, distance and *unknown* out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.fx.experimental.optimization import fuse

from engine.models.about import About
from engine.models.calibration import Ruler
from engine.stages.encoder import Adapter, Encoder, Heads

# (M, C, H, W) uint8 → probabilities of the classes (M, L) and distances (M,), both float32.
Network = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class Recogniser(nn.Module):
    """The whole network: (M, C, H, W) uint8 → probabilities of the L classes (M, L), and distances (M,)."""

    centre: torch.Tensor
    scaling: torch.Tensor
    references: torch.Tensor
    merging: torch.Tensor

    def __init__(
        self, encoder: Encoder, adapter: Adapter | None, head: Heads, ruler: Ruler, home: tuple[int, ...]
    ) -> None:
        """`home`: (K,) the place of each cluster's class."""
        super().__init__()
        self.encoder, self.head = encoder, head
        self.adapter = adapter
        for name, value in vars(ruler).items():
            self.register_buffer(name, value)
        merging = F.one_hot(torch.tensor(home), max(home) + 1).float()
        self.register_buffer("merging", merging, persistent=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.told(self.encoder(x.float().div_(255)))

    def told(self, encoded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The same from what the encoder makes of the images (M, D)."""
        features = encoded if self.adapter is None else self.adapter(encoded)
        probabilities = self.head(features)[0].softmax(1) @ self.merging
        return probabilities, Ruler(self.centre, self.scaling, self.references).distance(features)


@dataclass(frozen=True, eq=False)
class Answers:
    """What a model says of M images.

    Attributes:
        classes, runners_up: (M,) int64, places of the most and the second most probable class in the names; the
            runner-up is -1 where there is only one class.
        confidence, next_confidence: (M,) float32, their probabilities.
        distance: (M,) float32, how far an image is from the run's own: 0 where it is one of many equal ones.
        unknown: (M,) bool.
    """

    classes: np.ndarray
    confidence: np.ndarray
    runners_up: np.ndarray
    next_confidence: np.ndarray
    distance: np.ndarray
    unknown: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True, eq=False)
class Model:
    """A model that is ready to answer. `recogniser` is its network in torch; None where it is a file of ONNX."""

    about: About
    network: Network
    recogniser: Recogniser | None = None

    def answer(self, pixels: np.ndarray) -> Answers:
        """What it says of images (M, C, H, W) uint8, of the size and channels that it takes."""
        probabilities, distances = self.network(pixels)
        order = np.argsort(-probabilities, axis=1, kind="stable")
        rows = np.arange(len(pixels))
        confidence = probabilities[rows, order[:, 0]]
        single = probabilities.shape[1] == 1
        after = np.full(len(pixels), -1) if single else order[:, 1]
        limits = self.about.thresholds
        return Answers(
            order[:, 0],
            confidence,
            after,
            np.zeros_like(confidence) if single else probabilities[rows, after],
            distances,
            (confidence < limits.confidence) | (distances > limits.distance),
        )


def on_device(about: About, recogniser: Recogniser, device: torch.device) -> Model:
    """The model that computes with `recogniser` on `device`."""
    recogniser = recogniser.to(device).eval()
    computing = _folded(recogniser) if device.type == "cpu" and "encoder" in about.network else recogniser

    @torch.inference_mode()
    def network(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        batch = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device)
        probabilities, distances = computing(batch)
        return probabilities.cpu().numpy(), distances.cpu().numpy()

    return Model(about, network, recogniser)


def _folded(recogniser: Recogniser) -> Recogniser:
    """A copy whose convolutions do the work of the normalisations behind them, for a network of our own; other ones
    cannot always be traced. On a CPU it takes 0.8 of the time, and answers differ by rounding alone."""
    computing = copy.deepcopy(recogniser)
    encoder = computing.encoder
    encoder.backbone = fuse(encoder.backbone).to(memory_format=encoder.memory_format)
    return computing.eval()
