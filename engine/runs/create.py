"""Creates run folders: for new runs, or for branches that start from another run's stages.

Even if something fails, the folder is either complete or absent.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from engine import checksums
from engine.config import IMPORT, SCRATCH, RunConfig, to_dict
from engine.curate.guidance import Guidance
from engine.data.skipped import Skipped
from engine.errors import RunError, choose_clusters, disk_cure, reason_of
from engine.leftovers import DRAFT, sweep
from engine.networks.hub import Told, nobody
from engine.runs.files import draft_folder, write_text
from engine.runs.folder import FORMAT, NEW_RUN, WITHOUT_ADAPTER, RunFolder
from engine.runs.inheritance import inherit, inherit_decided
from engine.runs.initial_weights import keep_beginning
from engine.sources.open_source import Opened

# The files of a run itself that nobody changes once it is there.
WRITTEN_ONCE = ("run.json", "encoder.pt", "encoder.json")


def create_run(
    path: str | os.PathLike[str],
    opened: Opened,
    config: RunConfig,
    excluded: tuple[Skipped, ...] = (),
    told: Told = nobody,
) -> RunFolder:
    """Creates a run folder, which is either complete or absent.

    `excluded` are images of the source that a person excluded, and that are not in `opened`. `told` follows the
    download of a network, if there is one.

    Raises:
        RunError: when something is there already, K or the extra images do not fit the images,
            or it cannot be written.
        SpiceError: when what `features.source` names is not there or does not fit.
    """
    target = Path(path).absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise RunError(f"{target} exists and is not empty: resume the run in it, or choose another folder")
    check_clusters(config, len(opened.images), opened.images.source)
    _check_extra(opened)
    return _made(target, lambda draft: _write_inputs(draft, opened, config, excluded, told))


def branch_run(parent: RunFolder, path: str | os.PathLike[str], config: RunConfig) -> RunFolder:
    """A new run that starts from the parent's stages 1 and 2, with different settings for the rest; from its stage 1
    alone where `config` asks for another stage 2.

    Raises:
        RunError: when the last stage it starts from is not done, or was done on external vectors by an earlier
            version, `config` asks for another stage 1, or the new run cannot be written.
    """
    target, own = _free(path), parent.card()
    other_heads = config.heads != own.config.heads
    stage, artefact = (1, "features") if other_heads else (2, "heads")
    if not parent.has(artefact):
        raise RunError(f"{parent.path} has no stage {stage} yet: train stage {stage} before starting a run from it")
    if parent.lacks_adapter:
        raise RunError(f"{parent.path} has no stage 3 to train ({WITHOUT_ADAPTER}): {NEW_RUN}")
    if not _differs_only(config, own.config, "heads", "reliable", "joint"):
        raise RunError("only the settings of the heads, of the reliable set and of stage 3 can be changed here")
    return _made(target, lambda draft: inherit(draft, parent, config, other_heads=other_heads))


def branch_decided(parent: RunFolder, path: str | os.PathLike[str], config: RunConfig, guidance: Guidance) -> RunFolder:
    """A new run that starts from the parent's stage 1, with a reviewer's decisions: images that
    were excluded are not in it, and stages 2 and 3 learn the labels that were decided.

    It has as many clusters as `guidance`, regardless of `config`.

    Raises:
        RunError: when stage 1 is not done, `guidance` is about other images, K does not fit,
            `config` asks for another stage 1, or the new run cannot be written.
    """
    target, own = _free(path), parent.card()
    if not parent.has("features"):
        raise RunError(f"{parent.path} has no stage 1 yet: train stage 1 before starting a run from it")
    if len(guidance.keep) != own.images:
        raise RunError(
            f"the decisions are about {len(guidance.keep):,} images, but {parent.path} has "
            f"{own.images:,}: make decisions on the images of this run"
        )
    config = replace(config, clusters=guidance.clusters)
    if not _differs_only(config, own.config, "clusters", "heads", "reliable", "joint"):
        raise RunError("only K and the settings after stage 1 can be changed here")
    check_clusters(config, int(guidance.keep.sum()), own.source)
    return _made(target, lambda draft: inherit_decided(draft, parent, config, guidance))


def _differs_only(config: RunConfig, own: RunConfig, *names: str) -> bool:
    """Whether `config` is `own` but for the settings `names`."""
    return replace(own, **{name: getattr(config, name) for name in names}) == config


def _made(target: Path, write: Callable[[RunFolder], None]) -> RunFolder:
    """The run folder at `target`, filled by `write`, either complete or absent."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target.parent, f".*{DRAFT}*")
        with draft_folder(target) as place:
            write(RunFolder(place))
            own = [file for file in place.iterdir() if file.name in WRITTEN_ONCE]
            write_text(place / checksums.FILE, checksums.text_of(checksums.of_files(own)))
            if target.exists():
                target.rmdir()
            place.rename(target)
    except OSError as error:
        raise RunError(f"a run cannot be written to {target} ({reason_of(error)}): {disk_cure(error)}") from None
    return RunFolder(target)


def _write_inputs(
    draft: RunFolder, opened: Opened, config: RunConfig, excluded: tuple[Skipped, ...], told: Told
) -> None:
    images = opened.images
    if config.features.source != SCRATCH:  # first, since it may not be there, or not fit
        keep_beginning(draft.path, config.features.source, images, told, clusters=config.clusters)
    draft.save_images("images", images)
    if opened.columns:
        draft.save_columns(list(opened.columns))
    if opened.truth is not None:
        names = np.array(opened.truth.class_names)
        draft.save("truth", {"labels": opened.truth.labels, "class_names": names}, of=("images",))
    _write_originals(draft, opened)
    card = {
        "format": FORMAT,
        "source": images.source,
        "images": len(images),
        "fingerprint": images.fingerprint,
        "created": time.time(),
        "skipped": [[one.name, one.reason] for one in opened.skipped],
        "excluded": [[one.name, one.reason] for one in excluded],
        "config": to_dict(config),
    }
    if opened.origin is not None:
        card["origin"] = asdict(opened.origin)
    if opened.depths:
        card["depths"] = {kind: [one.low, one.scale] for kind, one in opened.depths.items()}
    imported = config.features.source.startswith(IMPORT)
    if opened.extra is not None and not imported:
        draft.save_images("extra", opened.extra)
        card["extra"] = len(opened.extra)
    write_text(draft.path / "run.json", json.dumps(card, indent=1))


def _write_originals(draft: RunFolder, opened: Opened) -> None:
    """The sizes and stamps of the originals: how they look, and whether they have changed since."""
    if opened.origin is not None and opened.stamps is not None and opened.extents is not None:
        draft.save("originals", {"marks": opened.stamps, "extents": opened.extents}, of=("images",))


def _free(path: str | os.PathLike[str]) -> Path:
    """The absolute path; raises RunError when something is there already."""
    target = Path(path).absolute()
    if target.exists():
        raise RunError(f"{target} exists: choose another folder")
    return target


def check_clusters(config: RunConfig, images: int, source: str) -> None:
    """Raises RunError if there are too many or too few clusters for `images` images."""
    if not 2 <= config.clusters <= images:
        raise RunError(choose_clusters(config.clusters, images, source))
    if config.clusters > config.heads.images:
        raise RunError(
            f"clusters is {config.clusters}, but an E-step labels only {config.heads.images} images: raise heads.images"
        )


def _check_extra(opened: Opened) -> None:
    """Raises RunError when the extra images are of another size or colour than the images."""
    images, extra = opened.images, opened.extra
    if extra is not None and extra.pixels.shape[1:] != images.pixels.shape[1:]:
        raise RunError(
            f"the extra images are {extra.pixels.shape[1:]}, but those of {images.source} "
            f"{images.pixels.shape[1:]} (channels, height, width): open both in one size and colour"
        )
