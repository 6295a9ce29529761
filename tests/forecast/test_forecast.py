"""Forecasts: the counts equal those of a run, and measuring changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.config import RunConfig, with_settings
from engine.data.images import ImageSet
from engine.errors import RunError, Stopped
from engine.events import StageStarted
from engine.forecast import frozen_parts
from engine.forecast import probe as measuring
from engine.forecast.forecast import Cost, Costs, duration, forecast, shape_of, size, table, warnings_of, work
from engine.forecast.probe import probe, sample
from engine.forecast.timing import Clock, cost_of, counted_up, resident_bytes, watched_memory
from engine.jobs import Control
from engine.runs import pipeline
from engine.runs.kept_forecast import Forecast, load_forecast, save_forecast, to_json
from engine.runs.results import observe, summary
from engine.runs.runner import choose_device, execute
from engine.stages import features, heads, joint
from engine.stages.encoder import Adapter, Encoder
from tests.local_hub import Hub
from tests.piece_costs import PIECES, costs_of_pieces
from tests.tiny_runs import MakeRun, drawn, tiny_config

CPU = torch.device("cpu")


def costs(config: RunConfig, images: int = 60, **changes: Any) -> Costs:
    """Every piece takes 1 s, between 0.5 and 2; bytes take no time."""
    each = costs_of_pieces(Cost(1.0, 0.5, 2.0))
    found = Costs(
        "cpu", 1, images, 64, config.clusters, shape_of(config), each, dimensions=16, weights=1000, memory=5_000_000
    )
    return replace(found, **changes)


# -- counting ------------------------------------------------------------------------------------


def test_steps_and_frames_are_counted_by_hand() -> None:
    config = tiny_config()  # 3 epochs of 60 // 16 batches, 3 rounds, 6 steps
    found = work(config, costs(config))
    # Frames after 0 1 2 4 5 7 9 of stage 1, 0 1 2 3 of stage 2, 0 1 2 3 4 5 6 of stage 3.
    assert {name: found[name] for name in PIECES[:-1]} == {
        "features": 9,
        "heads": 3,
        "first": 1,
        "joint": 6,
        "encode": 7 + 7 + 2,
        "condense": 7 + 7,
        "judge": 4 + 1,
        "neighbors": 1,
        "kmeans": 1,
        "score": 3,
        "save": 25 + 7 * 1 + 4 * 4 + 7 * (3 + 6),
    }


def test_what_is_counted_is_what_a_run_does(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[int] = []
    real = features.encode

    def counting(encoder: Any, pixels: Any, ids: Any = None, *more: Any) -> torch.Tensor:
        passes.extend([1] if ids is None else [])
        return real(encoder, pixels, ids, *more)

    monkeypatch.setattr(features, "encode", counting)
    monkeypatch.setattr(joint, "encode", counting)
    folder = make_run()
    given = {file for file in folder.path.rglob("*") if file.is_file()}
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished"
    config, images = folder.config(), folder.images()
    found = work(config, costs(config))
    written = {file for file in folder.path.rglob("*") if file.suffix in (".npy", ".pt")} - given
    assert len(passes) == found["encode"]
    assert len(written) == found["save"]
    # Arrays have headers of 128 bytes; the rest of their size is in the forecast.
    held = sum(file.stat().st_size - 128 for file in written if file.suffix == ".npy")
    own = costs(config, weights=0, dimensions=features_of(folder), image_bytes=images.pixels[0].nbytes)
    heads = 8 * features_of(folder) * (features_of(folder) + config.clusters)
    assert work(config, own)["write"] - heads == pytest.approx(held, rel=0.1)


def features_of(folder: Any) -> int:
    return int(folder.load("features")["vectors"].shape[1])


def test_what_is_counted_is_what_a_run_on_a_frozen_network_does(
    make_run: MakeRun, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(**frozen, **{"heads.sizes": "estimated", "joint.reselect": 1})
    given = {file for file in folder.path.rglob("*") if file.is_file()}
    images = counted_images(monkeypatch)
    # The rounds of stage 2 ask the adapter too; that is measured with them.
    monkeypatch.setattr(heads, "encode", lambda _adapter, _pixels, ids, _view: torch.zeros(len(ids), 60))
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished", observe(folder).message
    config, own = folder.config(), folder.images().pixels[0].nbytes
    found = work(config, costs(config))
    assert images[Encoder] == 60 * found["encode"] == 60 * 4
    assert images[Adapter] == 60 * found["adapt"]
    assert (found["weak"], found["strong"]) == (1, 2)
    written = {file for file in folder.path.rglob("*") if file.suffix in (".npy", ".pt")} - given
    assert len(written) == found["save"]
    held = sum(file.stat().st_size - 128 for file in written if file.suffix == ".npy")
    weights = sum(file.stat().st_size for file in written if file.suffix == ".pt")
    assert work(config, costs(config, dimensions=64, image_bytes=own))["write"] == pytest.approx(
        held + weights, rel=0.1
    )


def test_a_frozen_network_without_kept_views_sees_all_images_in_stage_3_too(
    make_run: MakeRun, frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_run(**{**frozen, "features.weak_views": 0, "features.strong_views": 0, "joint.reselect": 1})
    images = counted_images(monkeypatch)
    monkeypatch.setattr(heads, "encode", lambda _encoder, _pixels, ids, _view: torch.zeros(len(ids), 64))
    monkeypatch.setattr(joint, "look_through", lambda *_: None)  # X-rays, of a few images
    monkeypatch.setattr(pipeline.Run, "keep_xray", lambda *_: None)
    # A step of stage 3 asks for its targets in training mode.
    with folder.lock():
        assert execute(folder, choose_device("cpu"), Control()) == "finished", observe(folder).message
    found = work(folder.config(), costs(folder.config()))
    assert images[Encoder] == 60 * found["encode"] == 60 * (1 + 7 + 1 + 1)


def counted_images(monkeypatch: pytest.MonkeyPatch) -> dict[type, int]:
    """How many images each kind of network is given from now on, but for those that it trains on."""
    found: dict[type, int] = {Encoder: 0, Adapter: 0}

    def counting(kind: type[Encoder | Adapter]) -> None:
        real = kind.forward

        def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
            found[kind] += 0 if self.training else len(x)
            return real(self, x)

        monkeypatch.setattr(kind, "forward", forward)

    for kind in (Encoder, Adapter):
        counting(kind)
    return found


def test_a_forecast_is_work_times_cost() -> None:
    config = tiny_config()
    found = forecast(config, costs(config))
    rest = 16 + 14 + 5 + 1 + 1 + 3 + 111
    assert found.seconds == {"features": 9, "heads": 4, "joint": 6, "rest": rest}
    assert (found.total, found.low, found.high) == (170, 85, 340)
    assert (found.device, found.threads, found.memory, found.gpu_memory) == ("cpu", 1, 5_000_000, None)


def test_more_of_anything_takes_longer() -> None:
    config = tiny_config()
    before = forecast(config, costs(config))
    more = {"features.epochs": 4, "heads.epochs": 4, "joint.steps": 7, "joint.reselect": 1, "clusters": 6}
    for name, value in more.items():
        changed = with_settings(config, {name: value})
        assert forecast(changed, costs(config)).total > before.total, name
    assert forecast(config, costs(config, images=80)).seconds["features"] == 15
    assert forecast(config, costs(config, extra=20)).seconds["features"] == 15
    assert forecast(config, costs(config, images=80)).disk > before.disk


def test_coarse_steps_are_counted_apart() -> None:
    config = tiny_config(**{"features.coarse": 0.25})
    found = work(config, costs(config))
    assert (found["features"], found["coarse"]) == (6, 3)


def test_an_encoder_that_is_kept_as_it_is_has_no_steps() -> None:
    config = tiny_config(**{"features.source": "encoder:some", "features.epochs": 0})
    found = work(config, costs(config))
    # Its features once, before each of 6 steps of stage 3 and after the last, and for its labels.
    assert (found["features"], found["encode"]) == (0, 1 + 7 + 1)


@pytest.mark.parametrize("name", ["features.batch", "heads.batch", "joint.unlabelled"])
def test_another_step_must_be_measured_again(name: str) -> None:
    config = tiny_config()
    with pytest.raises(RunError, match="measure again"):
        forecast(with_settings(config, {name: 5}), costs(config))


# -- measuring -----------------------------------------------------------------------------------


def clock_at(*times: float, seconds: float = 4.0, stop: Callable[[], bool] = lambda: False) -> Clock:
    moments = iter(times)
    return Clock(seconds, stop, lambda: next(moments))


def test_a_clock_leaves_the_first_step_out() -> None:
    clock = clock_at(0, 3, 4, 6)
    assert [clock.asked() for _ in range(4)] == [False, False, False, True]
    assert clock.steps == [1, 2]


def test_a_clock_leaves_a_slow_stage_early_but_not_before_it_is_warm() -> None:
    clock = clock_at(0, 9)
    assert [clock.asked(), clock.asked()] == [False, True]
    assert clock.steps == [9]
    cold = replace(clock_at(0, 9, 16), least=2)
    assert [cold.asked() for _ in range(3)] == [False, False, True]
    assert cold.steps == [7]


def test_a_clock_sees_the_frame_before_the_first_step() -> None:
    clock = clock_at(5, 7)
    clock.emit(StageStarted("heads", 3))
    clock.asked()
    assert clock.before == 2


def test_a_range_reaches_from_the_fastest_to_the_slowest_step() -> None:
    found = cost_of([1.0, 2.0, 3.0])
    assert found.seconds == 2
    assert found.low < 1
    assert found.high > 3


def test_steps_of_two_sizes_show_what_does_not_grow() -> None:
    # One second regardless of size, and two for all images: a quarter takes 1.5 s, a half 2 s.
    found = counted_up([1.5, 1.5], [2.0, 2.0], (4, 2))
    assert found.seconds == pytest.approx(3)
    assert found.low < 3 < 4 < found.high
    # Noise that would make small steps slower than large ones is ignored.
    assert counted_up([2.0], [1.0], (4, 2)).seconds == pytest.approx(0.6 * 2)


def measured(config: RunConfig, images: ImageSet, **more: Any) -> Costs:
    return probe(images, [config], CPU, seconds=0.2, **more)[0]


def test_a_probe_measures_whatever_is_counted(tmp_path: Path) -> None:
    images, config = drawn()[0], tiny_config(**{"features.coarse": 0.5})
    found = measured(config, images, place=tmp_path)
    assert set(found.each) == set(work(config, found))
    assert all(cost.seconds > 0 for name, cost in found.each.items() if name != "first")
    assert (found.images, found.image_bytes, found.dimensions) == (60, 64, 16)
    assert found.weights > 4 * 16
    told = forecast(config, found)
    assert told.low <= told.total <= told.high
    assert list(tmp_path.iterdir()) == []


def test_a_probe_measures_a_frozen_network_and_what_learns_from_it(frozen: dict[str, Any]) -> None:
    config = tiny_config(**frozen, **{"heads.sizes": "estimated", "heads.start": "kmeans"})
    found = measured(config, drawn()[0])
    assert set(found.each) == set(work(config, found)) - {"features", "coarse"}
    assert all(cost.seconds > 0 for cost in found.each.values())
    assert found.dimensions == 64
    told = forecast(config, found)
    network = found.each["encode"].times(4).plus(found.each["weak"]).plus(found.each["strong"].times(2))
    assert told.seconds["features"] == pytest.approx(network.seconds, abs=1e-3)


def test_a_network_is_measured_before_it_is_downloaded(hub: Hub) -> None:
    for source, dimensions in (("timm:test_vit.r160_in1k", 64), ("torchvision:shufflenet_v2_x0_5", 1024)):
        found = measured(tiny_config(**{"features.source": source, "features.epochs": 0}), drawn()[0])
        assert found.dimensions == dimensions
        assert found.each["encode"].seconds > 0
    assert hub.asked == []


def test_the_first_round_has_the_layout_of_neighborhoods(
    frozen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out = list[int]()

    def layout(unit: np.ndarray, _seed: int) -> np.ndarray:
        laid_out.append(len(unit))
        time.sleep(0.5)
        return unit[:, :20]

    monkeypatch.setattr(frozen_parts, "neighborhoods", layout)
    monkeypatch.setattr(heads, "neighborhoods", lambda *_: pytest.fail("the rounds are timed without a layout"))
    plain = measured(tiny_config(**frozen, **{"heads.start": "kmeans"}), drawn()[0])
    assert laid_out == []
    found = measured(tiny_config(**frozen, **{"heads.start": "neighbors"}), drawn()[0])
    assert laid_out == [60]
    assert found.each["first"].seconds >= 0.5
    assert forecast(tiny_config(**frozen, **{"heads.start": "neighbors"}), found).seconds["heads"] >= 0.5
    assert plain.each["first"].seconds > 0


def test_a_layout_of_more_images_than_were_laid_out_takes_between_as_long_and_in_proportion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moments = iter([0.0, 8.0])
    monkeypatch.setattr(frozen_parts, "neighborhoods", lambda unit, _seed: unit)
    vectors = np.eye(2000, 40, dtype=np.float32) + 1
    config = tiny_config(**{"heads.start": "neighbors"})
    found = frozen_parts.first_round(
        config, vectors, 4000, CPU, lambda _act, _factor: Cost(0, 0, 0), lambda: next(moments)
    )
    # One of 1,000 images took 8 s.
    assert found.seconds == pytest.approx(16)
    assert found.low < 8 < 32 < found.high


@pytest.mark.parametrize(
    "changes",
    [
        {"features.objective": "moco", "features.norm_groups": 4},
        {"features.objective": "byol"},
        {"features.learning_rate": 10, "joint.learning_rate": 10, "heads.learning_rate": 1},
        {"heads.start": "random", "joint.unlabelled": 1, "joint.batch": 1},
        {"heads.images": 7},
    ],
)
def test_every_kind_of_step_can_be_measured(changes: dict[str, Any]) -> None:
    config = tiny_config(**changes)
    found = measured(config, drawn()[0])
    assert set(found.each) == set(work(config, found)) - {"coarse"}


def test_a_probe_changes_neither_images_nor_threads() -> None:
    images = drawn()[0]
    before, threads = images.pixels.copy(), torch.get_num_threads()
    assert measured(tiny_config(), images, threads=threads + 1).threads == threads + 1
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(images.pixels, before)


def test_a_probe_can_be_stopped_at_any_step() -> None:
    asked = iter([False] * 5)
    threads = torch.get_num_threads()
    with pytest.raises(Stopped):
        measured(tiny_config(), drawn()[0], threads=threads + 1, stop=lambda: next(asked, True))
    assert torch.get_num_threads() == threads


def test_a_probe_of_several_tells_how_far_it_is() -> None:
    told: list[float] = []
    configs = [tiny_config(), tiny_config(**{"encoder.width": 8})]
    found = probe(drawn()[0], configs, CPU, seconds=0.2, progress=told.append)
    assert told == [0, 0.5, 1]
    assert [one.dimensions for one in found] == [16, 32]


def test_what_cannot_be_forecast_is_said() -> None:
    with pytest.raises(RunError, match="clusters is 61, but drawn has 60 images"):
        measured(tiny_config(clusters=61), drawn()[0])
    for source in ("import:vectors.npy", "timm:hf-hub:birds/net"):
        with pytest.raises(RunError, match="a forecast needs a network that is built without a download"):
            measured(tiny_config(**{"features.source": source}), drawn()[0])


def test_a_sample_is_spread_over_all_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "SAMPLE", 20)
    assert sample(drawn()[0]).ids[:3] == ("bar-00", "bar-03", "bar-06")


@pytest.mark.skipif(resident_bytes() == 0, reason="this system does not tell a process's memory")
def test_growing_memory_is_seen() -> None:
    with watched_memory(CPU) as grown:
        # Large enough to come from the system, not from memory freed before.
        block, seen = np.ones(2**28, np.uint8), threading.Event()
        for _ in range(1000):  # until the watching thread has measured
            if grown() > 2**24:
                seen.set()
                break
            time.sleep(0.01)
    assert len(block) == 2**28
    assert seen.is_set()


# -- kept and shown ------------------------------------------------------------------------------


def foretold(**changes: Any) -> Forecast:
    parts = {"features": 20.0, "heads": 5.0, "joint": 8.0, "rest": 2.0}
    return replace(Forecast("cpu", 1, parts, 28, 45, 66_000_000, None, 4_600_000), **changes)


def test_a_run_keeps_its_forecast_and_shows_it(make_run: MakeRun) -> None:
    folder = make_run()
    assert load_forecast(folder) is None
    assert "forecast" not in summary(folder, observe(folder))
    save_forecast(folder, foretold())
    assert load_forecast(folder) == foretold()
    assert summary(folder, observe(folder))["forecast"] == to_json(foretold())
    assert to_json(foretold())["total"] == 35


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"total": 1}', '{"total": 1, "device": "cpu"}'])
def test_a_damaged_forecast_is_one_sentence(make_run: MakeRun, text: str) -> None:
    folder = make_run()
    (folder.path / "forecast.json").write_text(text)
    with pytest.raises(RunError, match=r"forecast\.json is damaged"):
        load_forecast(folder)


def test_durations_and_sizes_are_as_exact_as_a_forecast_can_be() -> None:
    assert [duration(x) for x in (0.42, 35.4, 119, 121, 3 * 3600, 47.5 * 3600, 40 * 86400)] == [
        "0.4 s",
        "35 s",
        "119 s",
        "2 min",
        "3 h",
        "48 h",
        "40 days",
    ]
    assert [size(x) for x in (4_600_000, 66e6, 2.51e9)] == ["4.6 MB", "66 MB", "2.5 GB"]


def test_too_little_memory_and_too_long_a_time_are_warned_of() -> None:
    assert warnings_of(foretold(), None) == []
    assert warnings_of(foretold(), 66_000_000) == []
    assert "66 MB of memory, but 60 MB are free on cpu" in warnings_of(foretold(), 60_000_000)[0]
    on_gpu = foretold(gpu_memory=2 * 10**9, device="cuda")
    assert "needs about 2 GB" in warnings_of(on_gpu, 10**9)[0]
    assert warnings_of(on_gpu, 3 * 10**9) == []
    long = foretold(seconds={"joint": 40 * 86_400.0})
    assert warnings_of(long, None) == ["takes about 40 days on cpu: use a GPU or Quick"]


def test_forecasts_stand_in_a_table() -> None:
    lines = table({"quick": foretold(), "paper": foretold(seconds={"joint": 4e6})}, None).splitlines()
    assert lines[1].split() == ["quick", "35", "s", "28", "s", "-", "45", "s", "66", "MB", "-", "4.6", "MB"]
    assert lines[2].startswith("paper  46 days")
    assert lines[-1] == "paper takes about 46 days on cpu: use a GPU or Quick"
