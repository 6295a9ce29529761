"""Runs are started, steered and gone on with; and what keeps one from being started."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import streamlit as st

from engine import config as settings
from engine import presets
from engine.config import RunConfig
from engine.errors import SpiceError
from engine.networks.hub import Told, nobody
from engine.runs import initial_weights
from engine.runs.create import branch_decided, branch_run, check_clusters, create_run
from engine.runs.initial_weights import check_beginning
from engine.runs.runner import choose_device, the_runner
from engine.runs.safeguards.damage import damage_of, to_make_again
from spice_explorer.queries import decisions, forecasts
from spice_explorer.queries.runs import made, workspace

if TYPE_CHECKING:
    from engine.curate.guidance import Unseen
    from engine.data.images import ImageSet
    from engine.data.skipped import Skipped
    from engine.runs.folder import RunFolder
    from engine.sources.open_source import Opened

Action = Literal["pause", "continue", "stop"]
# A network may come back while a page is open.
ASK_AGAIN_SECONDS = 20
# The encoders that come with the app. The engine's own list brings torch, and a form needs only names.
ENCODERS = Path(__file__).parents[2] / "assets" / "encoders"


def gpus() -> int:
    """The number of GPUs that CUDA sees; 0 until the warm-up has imported torch."""
    count = getattr(getattr(sys.modules.get("torch"), "cuda", None), "device_count", None)
    return int(count()) if count else 0


def start(
    opened: Opened, config: RunConfig, device: str, excluded: tuple[Skipped, ...] = (), told: Told = nobody
) -> str:
    """Makes a new run, queues it for training and returns its name; raises SpiceError.

    `excluded` are images that were excluded from the source, and that are not in `opened`. `told` follows a
    download: the file's name, and bytes done and in all.
    """
    choose_device(device)
    name = _free_name(opened.images.source, config)
    folder = create_run(workspace() / name, opened, config, excluded, told)
    forecasts.keep(folder, opened, config, device)
    the_runner().submit(folder, device)
    return name


def damaged(run: RunFolder) -> list[str]:
    """Sentences about what is damaged that training makes again when the run is resumed."""
    return [damage_of(run, one) for one in to_make_again(run)]


def continue_from(run: RunFolder, config: RunConfig, device: str = "auto") -> str:
    """A new run from stages 1 and 2 of `run`, queued; returns its name; raises SpiceError.

    `config` may differ from that run's in `heads` (then stage 2 is trained again), `reliable` and `joint` alone.
    """
    choose_device(device)
    branch = branch_run(run, workspace() / _free_name(run.card().source, config), config)
    the_runner().submit(branch, device)
    return branch.name


def train_with_decisions(run: RunFolder, unseen: Unseen = "doubted", device: str = "auto") -> str:
    """Queues a new run from stage 1 of `run`, with the decisions on it; returns its name; raises SpiceError."""
    choose_device(device)
    guidance = decisions.guidance(run, unseen)
    config = replace(run.card().config, clusters=guidance.clusters)
    branch = branch_decided(run, workspace() / _free_name(run.card().source, config), config, guidance)
    decisions.carry(run, branch, guidance.keep)
    the_runner().submit(branch, device)
    return branch.name


def _free_name(source: str, config: RunConfig) -> str:
    """ "photos-k10-seed0-2": the run's source and settings, and the first free number."""
    kind, _, path = source.partition(":")
    plain = Path(path).expanduser().absolute().name if path else kind
    slug = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain.lower()).strip("-")[:40]
    stem = f"{slug or kind}-k{config.clusters}-seed{config.seed}"
    number = 1
    while (workspace() / f"{stem}-{number}").exists():
        number += 1
    return f"{stem}-{number}"


def steer(run: RunFolder, action: Action) -> None:
    """Pauses, continues or stops a run of this process; raises RunError for any other."""
    runner = the_runner()
    {"pause": runner.pause, "continue": runner.resume, "stop": runner.stop}[action](run)


def resume(run: RunFolder, device: str = "auto") -> None:
    """Queues a stopped, failed or interrupted run again; raises SpiceError."""
    made(run)  # else a run that is gone would get a lock and events, in a folder of their own
    the_runner().submit(run, device)


def preset(name: str, clusters: int, channels: int, seed: int) -> RunConfig:
    return presets.preset(name, clusters=clusters, channels=channels, seed=seed)


def trained_encoders() -> list[str]:
    """The options for `features.source`: "encoder:NAME" for each encoder shipped with the app."""
    return [f"encoder:{path.stem}" for path in sorted(ENCODERS.glob("*.pt"))]


def faults(config: RunConfig, opened: Opened) -> dict[str, str]:
    """Reasons why these images cannot be trained with `config`, by the setting's dotted name; of a network that
    is not on the disk, whether it can be downloaded is asked."""
    found = {"clusters": _clusters_fault(config, opened)}
    source = config.features.source
    if source != settings.SCRATCH:
        # Only vectors depend on the images.
        own = opened.images.fingerprint if source.startswith(settings.IMPORT) else ""
        found["features.source"] = _source_fault(source, _written(source), own, opened.images)
        if source.startswith(settings.TIMM) and not found["features.source"]:
            found["features.source"] = "" if on_disk(source) else download_fault(source)
    return {name: fault for name, fault in found.items() if fault}


def _clusters_fault(config: RunConfig, opened: Opened) -> str:
    try:
        check_clusters(config, len(opened.images), opened.images.source)
    except SpiceError as error:
        return str(error)
    return ""


@st.cache_data(show_spinner="Reading the encoder that stage 1 starts from…", max_entries=32)
def _source_fault(source: str, written: tuple[int, int], fingerprint: str, _images: ImageSet) -> str:
    del written, fingerprint  # of the cache's key alone

    try:
        check_beginning(source, _images)
    except SpiceError as error:
        return str(error)
    return ""


def on_disk(source: str) -> bool:
    """Whether a run that begins with `source` downloads nothing; also False for what is not there at all."""
    try:
        return initial_weights.on_disk(source)
    except SpiceError:
        return False


@st.cache_data(show_spinner="Asking whether the network can be downloaded…", ttl=ASK_AGAIN_SECONDS, max_entries=32)
def download_fault(source: str) -> str:
    """Why the network that `source` names cannot be downloaded now; "" if nothing speaks against it."""
    try:
        initial_weights.check_download(source)
    except SpiceError as error:
        return str(error)
    return ""


def _written(source: str) -> tuple[int, int]:
    """When the file that `source` names was written, and its size; zeros for a name."""
    kind, _, place = source.partition(":")
    if f"{kind}:" == settings.WEIGHTS:
        place = place.partition(":")[2]
    if f"{kind}:" == settings.ENCODER and not place.endswith(".pt"):
        place = str(ENCODERS / f"{place}.pt")
    try:
        found = Path(place).expanduser().stat()
    except (OSError, ValueError, RuntimeError):
        return 0, 0
    return found.st_mtime_ns, found.st_size
