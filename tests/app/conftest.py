"""Fixtures: a tiny trained run, and workspaces with runs in every state."""

from __future__ import annotations

import functools
import json
import shutil
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from engine import jobs
from engine.config import RunConfig, with_setting
from engine.data.image_store import cache
from engine.data.images import ImageSet
from engine.data.skipped import Skipped
from engine.data.truth import Truth
from engine.events import Progress, RunFailed, RunStarted, StageStarted
from engine.health.reports import health_of
from engine.jobs import Control, Job, Jobs
from engine.lesson import failure_trials
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.maps import DEFAULT, artefact_of
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened, open_source
from spice_explorer import browsers
from spice_explorer.queries import lessons, runs
from tests.two_colours import turned, two_colours

ROOT = Path(__file__).parents[2]
IMAGES, CLUSTERS = 240, 4
# What stands between a number and its unit on a page.
NBSP = "\N{NO-BREAK SPACE}"
OVERRIDES = {
    "encoder.width": 4,
    "features.epochs": 3,
    "heads.epochs": 2,
    "heads.heads": 2,
    "heads.batch": 16,
    "heads.double_softmax": False,
    "joint.steps": 5,
    "reliable.confidence": 0.3,
    "reliable.agreement": 0.6,
}
Visit = Callable[..., AppTest]


@pytest.fixture(autouse=True, scope="session")
def _one_search_for_components() -> Iterator[None]:
    """Streamlit's test reads the metadata of all installed packages for each visit: once is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            manifest_scanner, "scan_component_manifests", functools.cache(manifest_scanner.scan_component_manifests)
        )
        yield


def tiny_config() -> RunConfig:
    config = preset("quick", clusters=CLUSTERS, channels=1)
    for name, value in OVERRIDES.items():
        config = with_setting(config, name, value)
    return config


@pytest.fixture(scope="session")
def few_digits() -> Opened:
    """The first digits that are 0, 1, 2 or 3, with their truth and one skipped file."""
    every = open_source("digits")
    assert every.truth is not None
    chosen = np.flatnonzero(every.truth.labels < CLUSTERS)[:IMAGES]
    images = ImageSet(every.images.pixels[chosen], tuple(np.array(every.images.ids)[chosen]), "digits")
    truth = Truth(every.truth.labels[chosen], every.truth.class_names[:CLUSTERS])
    return Opened(images, truth, (Skipped("broken.png", "not an image"),))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, few_digits: Opened) -> Path:
    """A finished run, with random places for its map so that no test waits for UMAP."""
    path = tmp_path_factory.mktemp("trained") / "demo"
    folder = create_run(path, few_digits, tiny_config())
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished"
    places = np.random.default_rng(0).normal(size=(IMAGES, 2)).astype(np.float32)
    folder.save(artefact_of(folder, DEFAULT), {"points": places})
    return path


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_digits: Opened) -> Path:
    """An empty workspace for the app. There the lesson's own run takes a second, without failure examples."""
    place = tmp_path / "runs"
    place.mkdir()
    monkeypatch.setenv("SPICE_EXPLORER_RUNS", str(place))
    monkeypatch.setattr(lessons, "prepared", lambda: (few_digits, tiny_config()))
    monkeypatch.setattr(failure_trials, "missing", lambda _folder: [])
    return place


@pytest.fixture
def finished(workspace: Path, trained: Path) -> RunFolder:
    shutil.copytree(trained, workspace / "demo")
    return RunFolder(workspace / "demo")


def demo() -> RunFolder:
    """The finished run, as a page finds it."""
    return runs.folder_of("demo")


@pytest.fixture
def without_truth(finished: RunFolder) -> RunFolder:
    shutil.rmtree(finished.path / "truth")
    lines = (finished.path / "events.jsonl").read_text("utf-8").splitlines(keepends=True)
    kept = [line for line in lines if "TruthScored" not in line]
    (finished.path / "events.jsonl").write_text("".join(kept), "utf-8")
    return finished


@pytest.fixture
def interrupted(workspace: Path, few_digits: Opened) -> RunFolder:
    """A run whose training process ended after stage 1."""
    folder = create_run(workspace / "halfway", few_digits, tiny_config())
    folder.append(RunStarted("cpu", 1))
    folder.append(StageStarted("features", 10))
    folder.append(Progress("features", 4, 1000.0, {"contrastive loss": 5.0}))
    return folder


@pytest.fixture
def failed(interrupted: RunFolder) -> RunFolder:
    interrupted.append(RunFailed("the loss of stage 1 is nan: lower features.learning_rate"))
    return interrupted


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six photographs, each red at the left and blue at the right, one of them turned by its EXIF, and a
    green square of 20 pixels."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(5):
        two_colours().save(folder / f"{number}.jpg", quality=90)
    (folder / "turned.jpg").write_bytes(turned())
    Image.new("RGB", (20, 20), (0, 250, 0)).save(folder / "u.png")
    return folder


@pytest.fixture(scope="session")
def report_on_digits() -> Path:
    """The health report of the digits, which the Dataset page shows first and takes seconds to make."""
    digits = open_source("digits")
    health_of(digits)
    return next((cache() / "health").glob(f"{digits.images.fingerprint}-*"))


@pytest.fixture
def visit(monkeypatch: pytest.MonkeyPatch, report_on_digits: Path) -> Visit:
    """Opens the app on a page: visit("map", run="demo"). There is no browser that keeps a name: Streamlit's test would
    have a mock for any cookie."""
    monkeypatch.setattr(browsers, "reviewer_cookie", str)
    (cache() / "health").mkdir()
    shutil.copy(report_on_digits, cache() / "health")

    def open_page(page: str, **query: str) -> AppTest:
        at = AppTest.from_file(str(ROOT / "spice_explorer" / "app.py"), default_timeout=60)
        for name, value in query.items():
            at.query_params[name] = value
        if page != "dataset":
            at.switch_page(f"../pages/{page}.py")
        at.run()
        assert not at.exception
        assert f"<h1>{page.title()}</h1>" in texts(at)
        return at

    return open_page


def ends_alone(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
    """Ends only the jobs called `name` with the server: any others could not start again afterwards."""
    plain: Jobs[Any, Job] = getattr(module, name)
    monkeypatch.setattr(jobs, "_known", weakref.WeakSet())
    monkeypatch.setattr(module, name, Jobs(plain._name, plain._begins, at_once=plain._at_once))


def texts(at: AppTest) -> str:
    """All text on the page and in the sidebar, including HTML."""
    kinds = ("html", "markdown", "caption", "error", "warning", "info", "subheader", "page_link")
    found = [element for kind in kinds for element in at.get(kind)]
    return "\n".join(str(getattr(one.proto, "body", "") or one.proto) for one in found)


def galleries(at: AppTest) -> list[dict[str, Any]]:
    """What the page sends to its galleries."""
    sent = [json.loads(one.proto.json) for one in at.get("bidi_component")]
    return [one for one in sent if "sheet" in one]


def button(at: AppTest, label: str) -> Button:
    return next(one for one in at.button if one.label == label)


def until(at: AppTest, done: Callable[[AppTest], bool], seconds: float = 90) -> AppTest:
    """Runs the page again until `done`."""
    end = time.monotonic() + seconds
    while not done(at):
        assert time.monotonic() < end, texts(at)
        time.sleep(0.05)
        at.run()
    return at
