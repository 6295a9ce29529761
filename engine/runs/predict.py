"""A finished run's model on images that it has not seen, and its encoder as a file of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from engine import metrics
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.errors import RunError
from engine.runs.store import RunFolder
from engine.stages.clustering import Clustering
from engine.stages.encoder import Encoder, Heads
from engine.stages.features import build_encoder
from engine.stages.joint import Classifier, predict
from engine.stages.trained import pack_encoder, read_card


def predict_images(folder: RunFolder, images: ImageSet, device: torch.device) -> Clustering:
    """What the newest model of the run says of `images`: stage 3's, else stage 2's head.

    Raises:
        RunError: when stage 2 is not done, or the images have another size or colour.
    """
    config, own = folder.config(), folder.images()
    if (images.channels, images.size) != (own.channels, own.size):
        raise RunError(
            f"{images.source} has {_shape(images)}, but the run was trained on {_shape(own)}: "
            "open the images in that size (--size) and colour"
        )
    if not folder.has("heads"):
        raise RunError(f"{folder.path} has no clusters yet: train until stage 2 is done")
    pixels = DeviceImages(images, device)
    encoder = build_encoder(config, pixels, channels=own.channels, side=min(own.size))
    head = Heads(1, encoder.features, config.clusters).to(device)
    model = Classifier(encoder, head).eval()
    if folder.has("joint"):
        model.load_state_dict(folder.weights("joint", device))
    else:
        encoder.load_state_dict(folder.weights("features", device))
        head.load_state_dict(folder.weights("heads", device))
    return Clustering(predict(model, pixels))


def scores(clustering: Clustering, truth: Truth | None) -> dict[str, float]:
    """Accuracy, NMI and ARI of new images, clusters matched to classes on them; {} without truth."""
    return {} if truth is None else metrics.truth_scores(clustering.labels, truth.labels)


def encoder_file(folder: RunFolder) -> bytes:
    """Stage 1's encoder as a file for `features.source=encoder:FILE.pt`; raises RunError."""
    if not folder.has("features"):
        raise RunError(f"{folder.path} has no encoder yet: train until stage 1 is done")
    card, images = folder.card(), folder.images()
    settings, features = card.config.encoder, card.config.features
    side, trained = min(images.size), features.source
    if trained != "scratch":
        before = read_card(folder.config().features.source)
        settings, side = type(settings)(**before["encoder"]), before["side"]
    state = folder.weights("features", "cpu")
    encoder = Encoder(settings, channels=len(state["mean"]), side=side)
    encoder.load_state_dict(state)
    kind, _, place = card.source.partition(":")
    made = {
        # Of a path only the last part: a file that is given away tells nothing of a machine.
        "source": f"{kind}:{Path(place).name}" if place else kind, "images": card.images, "objective": features.objective,
        "epochs": features.epochs, "began": trained, "seed": card.config.seed,
    }  # fmt: skip
    return pack_encoder(encoder, settings, side, made)


def _shape(images: ImageSet) -> str:
    height, width = images.size
    return f"{'colour' if images.channels == 3 else 'grey'} images of {width}×{height}"
