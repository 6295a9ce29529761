"""The Train page with photographs: what each choice takes, downloads and learned from, before anything is started."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.config import RunConfig
from engine.forecast.forecast import Cost, Costs, duration, shape_of
from engine.networks.origins import PROPOSED
from engine.presets import PHOTOS, preset
from engine.runs.kept_forecast import Forecast
from engine.sources.open_source import open_source
from spice_explorer.present import choices as present
from spice_explorer.present.choices import Choice
from spice_explorer.queries import forecasts, training
from spice_explorer.sections.train import form
from tests.app.conftest import Visit, button, texts
from tests.app.test_pages import choice
from tests.local_hub import Hub, in_cache
from tests.piece_costs import costs_of_pieces

SMALL = PROPOSED[0]
PLACE = f"timm/{SMALL.origin.name}"
FILE = "model.safetensors"


@pytest.fixture(autouse=True)
def _nothing_known(hub: Hub) -> Iterator[None]:
    hub.files[f"{PLACE}/{FILE}"] = b"weights"
    forecasts._probes.clear()
    training.download_fault.clear()
    yield
    forecasts._probes.clear()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(8):
        pixels = rng.integers(0, 255, (200, 300, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.jpg")
    return tmp_path


@pytest.fixture
def page(visit: Visit, folder: Path) -> Callable[[int], AppTest]:
    """The Train page with the photographs as squares of that side."""

    def opened(side: int) -> AppTest:
        at = visit("train")
        at.session_state["opened"] = open_source(f"folder:{folder}", size=side)
        return at.run()

    return opened


def row(at: AppTest, name: str) -> list[str]:
    line = next(line for line in texts(at).splitlines() if line.startswith((f"| {name} |", f"| ▸ {name} |")))
    return [cell.strip().replace("\\", "") for cell in line.strip("|").split("|")]


# -- what is said of each choice -------------------------------------------------------------------


@pytest.mark.usefixtures("workspace")
def test_each_choice_says_what_it_downloads_and_learned_from(page: Callable[[int], AppTest], hub: Hub) -> None:
    at = page(224)
    learned = "DINOv2 small: LVD-142M (142 million images), without labels; licence apache-2.0"
    assert row(at, "Photographs") == ["▸ Photographs", "not measured", "88 MB, once", learned]
    assert row(at, "Quick") == ["Quick", "not measured", "nothing", "these images only"]
    assert "22\N{NO-BREAK SPACE}% of CIFAR-10's test photographs were in the right one of ten clusters" in texts(at)
    assert not button(at, "Start training").disabled
    assert not [one for one in hub.asked if one.startswith("GET")]


@pytest.mark.usefixtures("workspace")
def test_a_network_that_is_here_is_not_downloaded(page: Callable[[int], AppTest], hub: Hub) -> None:
    in_cache(PLACE, FILE, b"weights")
    assert row(page(224), "Photographs")[2] == "nothing: it is on this machine"
    assert hub.asked == []


@pytest.mark.usefixtures("workspace")
def test_another_network_is_one_choice_away(page: Callable[[int], AppTest], hub: Hub) -> None:
    at = page(224)
    light = PROPOSED[-1]
    hub.files[f"timm/{light.origin.name}/{FILE}"] = b"weights"
    at.selectbox(key="network").set_value(f"timm:{light.origin.name}").run()
    assert choice(at, "features.source").value == f"timm:{light.origin.name}"
    assert row(at, "Photographs")[2:] == [
        "22 MB, once",
        "MobileNetV3 large: ImageNet-1k, with labels; licence apache-2.0",
    ]
    assert "Changed from the preset" not in texts(at)
    assert not at.error
    at.selectbox(key="preset").set_value("quick").run()
    assert "network" not in [one.key for one in at.selectbox]
    assert choice(at, "features.source").value == "scratch"


def costs(config: RunConfig, images: int) -> Costs:
    """Every piece takes a second."""
    each = costs_of_pieces(Cost(1.0, 0.5, 2.0)) | dict.fromkeys(("weak", "strong", "adapt"), Cost(1.0, 0.5, 2.0))
    return Costs("cpu", 1, images, 224 * 224 * 3, config.clusters, shape_of(config), each, 384, 10**6, 10**6)


@pytest.mark.usefixtures("workspace")
def test_a_time_is_shown_once_it_was_measured(page: Callable[[int], AppTest]) -> None:
    at = page(224)
    config = preset("photos", clusters=8, channels=3)
    probe = forecasts.probe_of(at.session_state["opened"], "auto")
    probe.costs.append(costs(config, 8))
    found = probe.of(config)
    assert found is not None
    at.number_input(key=f"k-{at.session_state['opened'].images.source}").set_value(8).run()
    shown = row(at, "Photographs")[1]
    # Four passes of the network, three views, 8 rounds, 400 steps and the rest, each a second.
    assert shown == f"{duration(found.total)} ({duration(found.low)} to {duration(found.high)})"
    assert found.total > 400
    assert row(at, "Quick")[1] == "not measured"


# -- without a network -----------------------------------------------------------------------------


@pytest.mark.usefixtures("workspace", "offline")
def test_offline_both_ways_round_it_are_told_before_a_run_is_started(page: Callable[[int], AppTest]) -> None:
    at = page(224)
    said = at.error[0].value.replace("\\", "")
    assert f"features.source=weights:{PLACE}:FILE" in said
    assert "copy the Hub's cache from a machine that has it, name it with HF_HOME, and set HF_HUB_OFFLINE=1" in said
    assert button(at, "Start training").disabled
    in_cache(PLACE, FILE, b"weights")  # as the second way has it
    at.run()
    assert not at.error
    assert not button(at, "Start training").disabled


@pytest.mark.usefixtures("workspace", "offline")
def test_offline_the_proposal_says_so_beside_its_button(page: Callable[[int], AppTest]) -> None:
    at = page(32)
    assert "HF_HOME" in at.warning[0].value.replace("\\", "")
    assert not button(at, "Start training").disabled  # from scratch, at 32 pixels


@pytest.mark.usefixtures("workspace")
def test_a_gated_network_is_said_before_a_run_is_started(page: Callable[[int], AppTest], hub: Hub) -> None:
    hub.errors[PLACE] = "GatedRepo"
    at = page(224)
    assert "is gated: accept its licence" in at.error[0].value.replace("\\", "")
    assert button(at, "Start training").disabled


# -- tiny squares ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("workspace")
def test_one_click_imports_again_and_leaves_the_right_preset(page: Callable[[int], AppTest]) -> None:
    at = page(32)
    assert at.selectbox(key="preset").value == "quick"
    assert "Download: 88 MB, once" in texts(at).replace("\\", "")
    button(at, "Import them at 224 pixels").click().run()
    for _ in range(200):
        if "start" in [one.key for one in at.button]:
            break
        assert "being imported at 224 pixels" in texts(at)
        time.sleep(0.1)
        at.run()
    assert at.session_state["opened"].images.size == (224, 224)
    assert at.selectbox(key="preset").value == "photos"
    assert choice(at, "features.source").value == PHOTOS.features.source
    assert not button(at, "Start training").disabled


@pytest.mark.usefixtures("workspace")
def test_a_failed_import_is_said_on_the_same_page(page: Callable[[int], AppTest], folder: Path) -> None:
    at = page(32)
    for file in folder.glob("*.jpg"):
        file.unlink()
    button(at, "Import them at 224 pixels").click().run()
    for _ in range(200):
        if at.error:
            break
        time.sleep(0.1)
        at.run()
    assert str(folder) in at.error[0].value.replace("\\", "")
    assert button(at, "Import them at 224 pixels")


# -- in words --------------------------------------------------------------------------------------


def test_times_and_downloads_in_words() -> None:
    found = Forecast("cpu", 2, {"features": 300.0, "heads": 60.0}, 290, 700, 10**6, None, 10**6)
    choices = [Choice("Photographs", SMALL, False, found, True), Choice("Quick", None, False, None, False)]
    head, first, second = present.rows(choices)
    assert head[1:] == ("Time here", "Download", "What its network learned from")
    assert first[:3] == ("▸ Photographs", "6 min (4.8 min to 12 min)", "88 MB, once")
    assert second == ("Quick", "not measured", "nothing", "these images only")
    assert present.download(SMALL, on_disk=True) == "nothing: it is on this machine"


def test_training_from_scratch_comes_last_for_photographs() -> None:
    assert list(form._offered("folder:x", photographs=True)) == ["photos", "fast", "paper", "quick"]
    assert list(form._offered("stl10", photographs=True)) == ["photos", "paper-stl10", "fast", "paper", "quick"]
