"""The model of a run: its networks, the classes as people named and merged them, and calibrated thresholds."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.config import SCRATCH, to_dict
from engine.curate.curation import Class, Curation, State
from engine.data.batches import DeviceImages
from engine.errors import RunError, Stopped
from engine.exports.labelled import NUMBERED, run_id
from engine.models.about import About, Thresholds
from engine.models.calibration import SAMPLE, Ruler, calibrated
from engine.models.model import Model, Recogniser, on_device
from engine.runs.folder import RunFolder
from engine.runs.predict import Trained, trained
from engine.runs.results import decision_log, observe, summary
from engine.runs.safeguards.damage import is_whole
from engine.stages.compute import whole_products
from engine.stages.encoder_file import network_of
from engine.stages.features import encode

# Called with how many of the images are measured, and of how many.
Progress = Callable[[int, int], None]
# Images that are encoded between two calls of it.
PIECE = 256
# The artefact of `_sample`.
ARTEFACT = "sample"
# What is said of a run, apart from what else `About` says.
SCORES = ("stages", "reliable", "truth")
ENDINGS = (".pt", ".pth", ".safetensors", ".npy", ".parquet", ".bin")


@dataclass(frozen=True, eq=False)
class Said:
    """What people have decided at one moment: the classes that exist, the class of each cluster (K,), and the state of
    each image (N,)."""

    classes: tuple[Class, ...]
    home: np.ndarray
    state: np.ndarray

    @classmethod
    def of(cls, curation: Curation) -> Said:
        return cls(curation.classes, curation.home[: curation.clusters].copy(), curation.state.copy())


def model_of(
    folder: RunFolder,
    device: torch.device,
    said: Said | None = None,
    *,
    progress: Progress = lambda _done, _total: None,
    stop: Callable[[], bool] = lambda: False,
) -> Model:
    """The newest model of a run, ready to answer.

    Its thresholds are calibrated on a sample of the run's own images, without those that people excluded. The sample
    is computed once and kept in the run's folder, if that can be written.

    Args:
        said: what people decided; read from the run's log, unless given.
        progress, stop: of the sample's computation.

    Raises:
        RunError: before stage 2 is done, without a network (external vectors), or when all images are excluded.
        DecisionError: when the decisions cannot be read.
        Stopped: when `stop()` said so.
    """
    networks = trained(folder, device)
    if said is None:
        with contextlib.closing(decision_log(folder)) as log:
            said = Said.of(log.curation)
    given = [one for one in said.classes if one.number in set(said.home.tolist())]
    home = tuple(np.searchsorted([one.number for one in given], said.home).tolist())
    sample = _sample(folder, networks, device, progress, stop).without(said.state == State.EXCLUDED)
    if not len(sample.ids):
        raise RunError(f"all images of {folder.path} are excluded: a model has nothing to be calibrated on")
    merged = sample.probabilities @ np.eye(len(given), dtype=np.float32)[list(home)]
    ruler = Ruler.of(sample.features)
    about = _about(folder, networks, calibrated(merged.max(1), sample.features, ruler))
    about = replace(
        about,
        classes=tuple(one.name for one in given),
        home=home,
        without=tuple(one.name for one in said.classes if one not in given),
        decisions=_decisions(folder, said),
    )
    return on_device(about, Recogniser(networks.encoder, networks.adapter, networks.head, ruler, home), device)


@dataclass(frozen=True, eq=False)
class _Sample:
    """What the networks make of images `ids` (M,) in random order: features (M, D) and probabilities (M, K)."""

    ids: np.ndarray
    features: np.ndarray
    probabilities: np.ndarray

    def without(self, excluded: np.ndarray) -> _Sample:
        """The sample without images that are `excluded` (N,) bool."""
        kept = ~excluded[self.ids]
        return _Sample(self.ids[kept], self.features[kept], self.probabilities[kept])


def _sample(
    folder: RunFolder, networks: Trained, device: torch.device, progress: Progress, stop: Callable[[], bool]
) -> _Sample:
    """The kept one, unless other networks made it, or it is damaged."""
    made_by = np.array([folder.modified(name) or 0.0 for name in ("heads", "joint")])
    if folder.has(ARTEFACT) and is_whole(folder, ARTEFACT):
        kept = folder.load(ARTEFACT)
        if np.array_equal(kept["made_by"], made_by):
            return _Sample(*(np.asarray(kept[name]) for name in ("ids", "features", "probabilities")))
    made = _computed(folder, networks, device, progress, stop)
    with contextlib.suppress(OSError):  # of a run that may only be read, it is computed again
        folder.save(ARTEFACT, {"made_by": made_by, **vars(made)})
    return made


@torch.no_grad()
def _computed(
    folder: RunFolder, networks: Trained, device: torch.device, progress: Progress, stop: Callable[[], bool]
) -> _Sample:
    card = folder.card()
    ids = np.random.default_rng(card.config.seed).permutation(card.images)[:SAMPLE]
    if networks.adapter is None:
        parts, images = [], DeviceImages(folder.images(), device)
        with whole_products(networks.encoder):
            for start in range(0, len(ids), PIECE):
                progress(start, len(ids))
                if stop():
                    raise Stopped
                parts.append(encode(networks.encoder, images, torch.from_numpy(ids[start : start + PIECE])))
        features = torch.cat(parts)
    else:  # what the frozen network makes of the images is kept
        clean = torch.from_numpy(np.array(folder.load("features")["clean"][ids], np.float32))
        features = networks.adapter(clean.to(device))
    probabilities = networks.head(features)[0].softmax(1)
    return _Sample(ids, features.float().cpu().numpy(), probabilities.float().cpu().numpy())


def _about(folder: RunFolder, networks: Trained, thresholds: Thresholds) -> About:
    """What is known without people's decisions."""
    card, images = folder.card(), folder.images()
    height, width = images.size
    kind, _, place = card.source.partition(":")
    settings = to_dict(card.config)
    settings["features"]["source"] = without_folders(card.config.features.source)
    told = summary(folder, observe(folder))
    return About(
        run=folder.name,
        run_id=run_id(folder),
        stage=NUMBERED["joint" if folder.has("joint") else "heads"],
        classes=(),
        home=(),
        channels=images.channels,
        height=height,
        width=width,
        fit="crop" if card.origin is None else card.origin.fit,
        thresholds=thresholds,
        network=_network(folder, networks),
        fingerprint=card.fingerprint,
        images=card.images,
        # A shared file must not reveal folders of a machine.
        source=f"{kind}:{Path(place).name}" if place else kind,
        settings=settings,
        depths=card.depths,
        scores={name: told[name] for name in SCORES if told.get(name) is not None},
    )


def _network(folder: RunFolder, networks: Trained) -> dict[str, Any]:
    """The card by which the encoder is built again."""
    card = folder.card()
    if card.config.features.source == SCRATCH:
        own = {"encoder": asdict(card.config.encoder), "fixed_side": False}
        return {**own, "channels": networks.encoder.channels, "side": min(folder.images().size)}
    network, side = network_of(folder.config().features.source)
    return {**network, "channels": networks.encoder.channels, "side": side}


def without_folders(source: str) -> str:
    """`features.source` without the folders of a file.

    >>> without_folders("weights:timm/vit:/home/a/b.safetensors"), without_folders("timm:hf-hub:a/b")
    ('weights:timm/vit:b.safetensors', 'timm:hf-hub:a/b')
    """
    start, colon, place = source.rpartition(":")
    return f"{start}{colon}{Path(place).name}" if place.endswith(ENDINGS) else source


def _decisions(folder: RunFolder, said: Said) -> dict[str, int]:
    states = {"decided": State.DECIDED, "rejected": State.REJECTED, "excluded": State.EXCLUDED}
    found = {name: int((said.state == state).sum()) for name, state in states.items()}
    return {**found, "taught": int(folder.fixed().mask.sum())}
