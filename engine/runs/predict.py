"""Applies a finished run's model to unseen images, and saves its encoder as a separate file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from engine import metrics
from engine.config import SCRATCH, EncoderSettings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.data.thumbnails import as_image
from engine.data.truth import Truth
from engine.errors import RunError
from engine.runs.folder import IMPORTED, RunFolder
from engine.stages.clustering import Clustering
from engine.stages.encoder import Adapter, Encoder, Heads
from engine.stages.encoder_file import load_encoder, network_of, pack_encoder
from engine.stages.features import placed
from engine.stages.joint import Classifier, predict

# How many images become grey at a time.
GREY_IMAGES = 1_024


@dataclass(frozen=True, eq=False)
class Trained:
    """The networks of a run that label an image, in eval mode on one device.

    Attributes:
        encoder: (M, C, H, W) in 0–1 → (M, D).
        adapter: (M, D) → (M, P), where the encoder is frozen; else None.
        head: the features of the last of them → logits (1, M, K).
    """

    encoder: Encoder
    adapter: Adapter | None
    head: Heads

    @property
    def whole(self) -> nn.Module:
        """(M, C, H, W) in 0–1 → logits (M, K)."""
        if self.adapter is None:
            return Classifier(self.encoder, self.head)
        return nn.Sequential(self.encoder, Classifier(self.adapter, self.head))


def trained(folder: RunFolder, device: torch.device) -> Trained:
    """The run's latest model: stage 3's, else stage 2's head on stage 1's features.

    Raises:
        RunError: when stage 2 is not done, or the features were imported.
    """
    encoder, adapter = first_networks(folder, device)
    if not folder.has("heads"):
        raise RunError(f"{folder.path} has no clusters yet: train until stage 2 is done")
    learned = encoder if adapter is None else adapter
    head = Heads(1, learned.features, folder.card().config.clusters).to(device)
    if folder.has("joint"):
        Classifier(learned, head).load_state_dict(folder.weights("joint"))
    else:
        head.load_state_dict(folder.weights("heads"))
    return Trained(encoder, adapter, head.eval())


def first_networks(folder: RunFolder, device: torch.device) -> tuple[Encoder, Adapter | None]:
    """What stage 1 has left, in eval mode: together they make the run's features of images.

    Raises:
        RunError: when stage 1 is not done, or the features were imported.
    """
    _check_network(folder, "label images that it has not seen: use their external vectors in a new run")
    if not folder.has("features"):
        raise RunError(f"{folder.path} has no clusters yet: train until stage 2 is done")
    config, weights = folder.config(), folder.weights("features")
    if config.features.source == SCRATCH:
        encoder = Encoder(config.encoder, channels=len(weights["mean"]), side=min(folder.images().size))
    else:
        encoder = load_encoder(config.features.source)
    adapter = Adapter.of(weights).to(device) if config.keeps_views else None
    if adapter is None:
        encoder.load_state_dict(weights)
    return placed(encoder, config, device).eval(), adapter


def predict_images(folder: RunFolder, images: ImageSet, device: torch.device) -> Clustering:
    """Labels `images` with the run's latest model: stage 3's, else stage 2's head.

    Grey images become colour images for a run in colour, and colour images grey ones for a run in grey.

    Raises:
        RunError: when stage 2 is not done, the images have another size, or the features were imported.
    """
    own = folder.images()
    if images.size != own.size:
        raise RunError(
            f"{images.source} has {_shape(images)}, but the run was trained on {_shape(own)}: "
            "open the images in that size (--size)"
        )
    model = trained(folder, device)
    return Clustering(predict(model.whole, DeviceImages(coloured_as(images, own.channels), device)))


def coloured_as(images: ImageSet, channels: int) -> ImageSet:
    """The images with 1 or 3 channels: grey is the same in all three, and colours become their brightness."""
    if images.channels == channels:
        return images
    if channels == 3:
        pixels = np.repeat(images.pixels, 3, axis=1)
    else:
        pixels = np.empty((len(images), 1, *images.size), np.uint8)
        height, width = images.size
        for start in range(0, len(images), GREY_IMAGES):
            block = images.pixels[start : start + GREY_IMAGES]
            below = as_image(block.transpose(1, 0, 2, 3).reshape(3, -1, width))  # one image below the other
            pixels[start : start + GREY_IMAGES, 0] = np.asarray(below.convert("L")).reshape(-1, height, width)
    return ImageSet(pixels, images.ids, images.source)


def scores(clustering: Clustering, truth: Truth | None) -> dict[str, float]:
    """Accuracy, NMI and ARI of new images, clusters matched to classes on them; {} without truth."""
    return {} if truth is None else metrics.truth_scores(clustering.labels, truth.labels)


def encoder_file(folder: RunFolder) -> bytes:
    """Stage 1's encoder as a file for `features.source=encoder:FILE.pt`; raises RunError."""
    _check_network(folder, "share: share that file instead")
    if not folder.has("features"):
        raise RunError(f"{folder.path} has no encoder yet: train until stage 1 is done")
    card, images = folder.card(), folder.images()
    features, state = card.config.features, folder.weights("features")
    network: EncoderSettings | dict[str, Any] = card.config.encoder
    side = min(images.size)
    if features.source == SCRATCH:
        encoder = Encoder(card.config.encoder, channels=len(state["mean"]), side=side)
    else:
        encoder = load_encoder(folder.config().features.source)
        network, side = network_of(folder.config().features.source)
    if not card.config.keeps_views:  # there the network has not changed, and the weights are the adapter's
        encoder.load_state_dict(state)
    kind, _, place = card.source.partition(":")
    made = {
        # Keep only the last part of a path: a shared file must not reveal folders of a machine.
        "source": f"{kind}:{Path(place).name}" if place else kind,
        "images": card.images,
        "objective": features.objective,
        "epochs": features.epochs,
        "began": features.source,
        "seed": card.config.seed,
    }
    return pack_encoder(encoder, network, side, made)


def _check_network(folder: RunFolder, purpose: str) -> None:
    if folder.has(IMPORTED):
        raise RunError(
            f"{folder.path} took its features from {folder.card().config.features.source}, and has no "
            f"network to {purpose}"
        )


def _shape(images: ImageSet) -> str:
    height, width = images.size
    return f"{'colour' if images.channels == 3 else 'grey'} images of {width}×{height}"
