"""The forecast on the Train page: requested, measured in the background, kept and compared."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.config import RunConfig, with_setting
from engine.data.images import ImageSet
from engine.errors import RunError, Stopped
from engine.forecast import probe as measuring
from engine.forecast import timing
from engine.forecast.forecast import Cost, Costs, shape_of
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.kept_forecast import Forecast, load_forecast, save_forecast
from engine.runs.runner import Runner, the_runner
from engine.runs.snapshot import Snapshot
from engine.sources.open_source import Opened, open_source
from spice_explorer import lifecycle
from spice_explorer.present import forecast as present
from spice_explorer.queries import forecasts
from spice_explorer.sections.train.forecast import ASK, BUSY, _asked
from tests.app.conftest import Visit, button, ends_alone, texts
from tests.piece_costs import costs_of_pieces

FREE = 10**9
FOUND = Forecast("cpu", 1, {"features": 35.0}, 28, 61, 66_000_000, None, 4_600_000)


def costs(config: RunConfig, memory: int = 10**8) -> Costs:
    """Every operation takes a thousandth of a second."""
    each = costs_of_pieces(Cost(1e-3, 1e-3, 1e-3))
    return Costs("cpu", 1, 1797, 64, config.clusters, shape_of(config), each, 64, 10**6, memory)


@pytest.fixture(autouse=True)
def _nothing_known() -> Iterator[None]:
    forecasts._probes.clear()
    yield
    forecasts._probes.clear()


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the probe by `act`, which is called with its settings."""

    def replaced(act: Callable[..., list[Costs]]) -> None:
        def probe(_images: Any, configs: Any, _device: Any, **named: Any) -> list[Costs]:
            return act(list(configs), **named)

        monkeypatch.setattr(measuring, "probe", probe)
        monkeypatch.setattr(timing, "free_bytes", lambda _device: FREE)

    return replaced


def settled(at: AppTest) -> AppTest:
    """The page after the probe has ended."""
    over()
    return at.run()


def over() -> None:
    for thread in threading.enumerate():
        if thread.name == "spice-forecast":
            thread.join(20)


def labels(at: AppTest) -> list[str]:
    return [one.label for one in at.button]


def number(at: AppTest, setting: str) -> Any:
    return next(one for one in at.number_input if str(one.key).endswith(f"-{setting}"))


@pytest.mark.usefixtures("workspace")
def test_nothing_is_measured_before_it_is_asked_for(visit: Visit, measure: Callable[..., None]) -> None:
    measure(lambda _configs, **_: pytest.fail("nobody asked"))
    at = visit("train")
    assert ASK in labels(at)
    assert "| Quick |" not in texts(at)


@pytest.mark.usefixtures("workspace")
def test_a_probe_runs_beside_the_page_and_ends_in_a_table(visit: Visit, measure: Callable[..., None]) -> None:
    begun, go = threading.Event(), threading.Event()

    def act(configs: list[RunConfig], progress: Callable[[float], None], **_: Any) -> list[Costs]:
        progress(0.5)
        begun.set()
        assert go.wait(20)
        return [costs(one) for one in configs]

    measure(act)
    at = button(visit("train"), ASK).click().run()
    assert begun.wait(20)
    assert ASK not in labels(at.run())  # measured already, without waiting on the page
    assert not button(at, "Start training").disabled
    go.set()
    at = settled(at)
    shown = texts(at)
    for name in ("Quick", "Fast", "Paper"):
        assert f"| {name} | **" in shown
    assert "On cpu with 1 thread, if it is otherwise idle" in shown
    # 1,797 images of preset quick: 7 steps in each of 50 epochs, 15 rounds, 300 steps, and the rest.
    assert "| Quick | **0.9 s** | 0.9 s to 0.9 s | 100 MB |" in shown
    assert present.OWN not in shown
    assert ASK not in labels(at)


@pytest.mark.usefixtures("workspace")
def test_changed_settings_follow_by_arithmetic_or_ask_again(visit: Visit, measure: Callable[..., None]) -> None:
    asked: list[list[RunConfig]] = []
    measure(lambda configs, **_: asked.append(configs) or [costs(one) for one in configs])
    at = settled(button(visit("train"), ASK).click().run())
    number(at, "joint.steps").set_value(100_000)
    assert "| These settings | **101 s** |" in texts(at.run())
    assert len(asked) == 1
    number(at, "features.batch").set_value(128)
    assert "| These settings | not measured |" in texts(at.run())
    at = settled(button(at, "Measure these settings").click().run())
    assert [one.features.batch for one in asked[1]] == [128]
    assert "| These settings | **101 s** |" in texts(at)


@pytest.mark.usefixtures("workspace")
def test_days_and_too_little_memory_are_warned_of(visit: Visit, measure: Callable[..., None]) -> None:
    def act(configs: list[RunConfig], **_: Any) -> list[Costs]:
        slow = Cost(10.0, 10.0, 10.0)
        return [replace(one, each={**one.each, "joint": slow}, memory=2 * FREE) for one in map(costs, configs)]

    measure(act)
    shown = texts(settled(button(visit("train"), ASK).click().run()))
    assert "Paper takes about 121 days on cpu\\: use a GPU or Quick" in shown
    assert "Quick needs about 2 GB of memory, but 1 GB are free on cpu" in shown
    assert "Quick takes" not in shown


@pytest.mark.usefixtures("workspace")
def test_a_probe_that_fails_says_why_and_can_be_asked_again(visit: Visit, measure: Callable[..., None]) -> None:
    def act(_configs: list[RunConfig], **_: Any) -> list[Costs]:
        raise RunError("clusters is 99: choose fewer")

    measure(act)
    at = settled(button(visit("train"), ASK).click().run())
    assert "Clusters is 99\\: choose fewer" in at.warning[0].value
    assert ASK in labels(at)
    at.number_input(key="k-digits").set_value(12).run()  # the forecast was for other settings
    assert not at.warning
    at.number_input(key="k-digits").set_value(10).run()
    assert at.warning


@pytest.mark.usefixtures("workspace")
def test_no_probe_runs_beside_a_training_run(
    visit: Visit, measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure(lambda _configs, **_: pytest.fail("a run is training"))
    monkeypatch.setattr(Runner, "trains_on", lambda *_: True)
    at = settled(button(visit("train"), ASK).click().run())
    assert BUSY in texts(at)
    assert ASK in labels(at)


@pytest.mark.usefixtures("workspace")
def test_a_probe_gives_way_to_a_run_and_knows_its_threads(
    measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: dict[str, Any] = {}

    def act(_configs: list[RunConfig], **named: Any) -> list[Costs]:
        told.update(named)
        assert not named["stop"]()
        monkeypatch.setattr(Runner, "trains_on", lambda *_: True)
        if named["stop"]():
            raise Stopped
        return []

    measure(act)
    opened = open_source("digits")
    forecasts.ask(opened, [preset("quick", clusters=10, channels=1)], "cpu")
    for thread in threading.enumerate():
        if thread.name == "spice-forecast":
            thread.join(20)
    assert forecasts.probe_of(opened, "cpu").state == "busy"
    assert told["threads"] == the_runner().threads


@pytest.mark.usefixtures("workspace")
def test_a_run_of_another_process_is_not_disturbed_either(
    workspace: Path, few_digits: Opened, measure: Callable[..., None]
) -> None:
    measure(lambda _configs, **_: pytest.fail("a run is training"))
    folder = create_run(workspace / "other", few_digits, preset("quick", clusters=4, channels=1))
    with folder.lock():
        forecasts.ask(few_digits, [folder.config()], "cpu")
        for thread in threading.enumerate():
            if thread.name == "spice-forecast":
                thread.join(20)
    assert forecasts.probe_of(few_digits, "cpu").state == "busy"


@pytest.mark.usefixtures("workspace")
def test_many_who_ask_at_once_begin_one_probe(
    few_digits: Opened, measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(forecasts.Probe):
        """Reading its state takes so long that others read it at the same time."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "state":
                time.sleep(0.2)
            return found

    probes, go, found = list[int](), threading.Event(), Slow()
    measure(lambda _configs, **_: probes.append(1) or (go.wait(60) and []))
    monkeypatch.setattr(forecasts, "probe_of", lambda *_: found)
    config = preset("quick", clusters=4, channels=1)
    threads = [threading.Thread(target=forecasts.ask, args=(few_digits, [config], "cpu")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    go.set()
    over()
    assert len(probes) == 1


@pytest.mark.usefixtures("workspace")
def test_a_probe_ends_with_the_server(
    few_digits: Opened, measure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, given_up = threading.Event(), threading.Event()

    def act(_configs: list[RunConfig], stop: Callable[[], bool], **_: Any) -> list[Costs]:
        begun.set()
        while not stop():
            assert not given_up.wait(0.01)
        raise Stopped

    measure(act)
    ends_alone(monkeypatch, forecasts, "_measuring")
    forecasts.ask(few_digits, [preset("quick", clusters=4, channels=1)], "cpu")
    assert begun.wait(60)
    try:
        lifecycle.stop_everything()
        assert forecasts.probe_of(few_digits, "cpu").state == "busy"
    finally:
        given_up.set()


def test_a_new_run_keeps_the_forecast_that_was_shown(workspace: Path, few_digits: Opened) -> None:
    config = preset("quick", clusters=4, channels=1)
    folder = create_run(workspace / "new", few_digits, config)
    forecasts.keep(folder, few_digits, config, "cpu")
    assert load_forecast(folder) is None
    forecasts.probe_of(few_digits, "cpu").costs.append(costs(config))
    forecasts.keep(folder, few_digits, with_setting(config, "heads.batch", 5), "cpu")
    forecasts.keep(folder, few_digits, config, "auto")  # a forecast for another device
    assert load_forecast(folder) is None
    forecasts.keep(folder, few_digits, config, "cpu")
    assert load_forecast(folder) == forecasts.probe_of(few_digits, "cpu").of(config)


def test_what_a_run_took_stands_beside_its_forecast(finished: RunFolder, visit: Visit) -> None:
    assert "forecast" not in texts(visit("train", run="demo"))
    save_forecast(finished, FOUND)
    assert "forecast 35 s (28 s to 61 s)" in texts(visit("train", run="demo"))


def test_words_say_how_far_a_run_is() -> None:
    said = "forecast 35 s (28 s to 61 s)."
    assert present.compared(Snapshot(state="finished", seconds=41), FOUND) == f"Took 41 s, {said}"
    assert present.compared(Snapshot(state="running", seconds=12), FOUND) == f"So far 12 s, {said}"
    assert present.compared(Snapshot(state="queued"), FOUND) == "Forecast 35 s (28 s to 61 s)."


def test_warnings_name_what_they_are_about() -> None:
    long = replace(FOUND, seconds={"joint": 40 * 86_400.0})
    assert present.warnings({"Paper": long, present.OWN: long, "Fast": None}, None) == [
        "Paper takes about 40 days on cpu: use a GPU or Quick",
        "A run with these settings takes about 40 days on cpu: use a GPU or Quick",
    ]


def test_only_presets_are_forecast_beside_external_vectors(few_digits: Opened) -> None:
    config = preset("quick", clusters=4, channels=1)
    own = with_setting(config, "joint.steps", 5)
    assert list(_asked(few_digits, config)) == ["Quick", "Fast", "Paper"]
    assert _asked(few_digits, own)[present.OWN] == own
    elsewhere = with_setting(config, "features.source", "import:vectors.npy")
    assert list(_asked(few_digits, elsewhere)) == ["Quick", "Fast", "Paper"]


def test_photographs_are_forecast_on_a_network_that_knows_them_too() -> None:
    images = ImageSet(np.zeros((4, 3, 64, 64), np.uint8), tuple("abcd"), "folder:photos")
    config = preset("photos", clusters=2, channels=3)
    asked = _asked(Opened(images), config)
    assert list(asked) == ["Photos", "Quick", "Fast", "Paper"]
    assert asked["Photos"] == config


def test_gpu_memory_has_a_column_only_where_there_is_a_gpu() -> None:
    assert present.rows({"Quick": FOUND})[0] == ("", "Time", "Range", "Memory", "Disk")
    both = present.rows({"Quick": replace(FOUND, gpu_memory=10**9), "Own": None})
    assert both == [
        ("", "Time", "Range", "Memory", "GPU memory", "Disk"),
        ("Quick", "**35 s**", "28 s to 61 s", "66 MB", "1 GB", "4.6 MB"),
        ("Own", "not measured", "", "", "", ""),
    ]
