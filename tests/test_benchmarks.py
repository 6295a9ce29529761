"""The benchmarks count and write what they say; what they measure is not for tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import cifar10, digits, pieces, report, speed
from benchmarks.__main__ import main
from benchmarks.photos import photos
from benchmarks.pieces import Options, OutOfTime, Pieces
from engine.data.sources import open_source


def test_spread_is_mean_deviation_and_lowest() -> None:
    assert report.spread([0.9, 1.0, 0.8]) == "0.900 ± 0.100 (0.800)"


def test_results_carry_where_they_come_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    report.write("speed", "Speed", {"ratio": 2}, report.table(["a"], [[1]]))
    data = json.loads((tmp_path / "results" / "speed.json").read_text())
    assert data["ratio"] == 2
    assert {"date", "commit", "device", "libraries"} <= data.keys()
    text = (tmp_path / "results" / "speed.md").read_text()
    assert "# Speed\n\n| a |\n| --- |\n| 1 |\n" in text
    assert "python -m benchmarks speed" in text


def test_results_tell_the_options_that_decide_them_and_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    words = [
        "cifar10",
        "--data",
        "/home/someone",
        "--minutes",
        "9",
        "--images",
        "70",
        "--set",
        "a.b=1",
        "--set",
        "c.d=2",
    ]
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/__main__.py", *words])
    report.write("cifar10", "Speed", {}, "", slug="cpu")
    text = (tmp_path / "cifar10-cpu.md").read_text()
    assert "`python -m benchmarks cifar10 --images 70 --set a.b=1 --set c.d=2`" in text
    assert "someone" not in text


def test_a_reliable_set_is_judged_class_by_class(tmp_path: Path) -> None:
    truth = open_source("digits").truth
    assert truth is not None
    labels = (truth.labels + 3) % 10  # the same groups under other names
    verdicts = np.zeros(len(labels), np.uint8)
    first = np.flatnonzero(truth.labels == 4)
    verdicts[first[len(first) // 2 :]] = 1  # half of the fours are rejected
    wrong = np.flatnonzero(truth.labels == 7)[:10]
    labels[wrong] = labels[truth.labels == 1][0]  # ten sevens are called one
    (tmp_path / "reliable-heads").mkdir()
    np.save(tmp_path / "reliable-heads" / "labels.npy", labels)
    np.save(tmp_path / "reliable-heads" / "verdicts.npy", verdicts)
    found = digits.reliable_sets(tmp_path)["heads"]
    trusted = int((verdicts == 0).sum())
    assert found["coverage"] == pytest.approx(trusted / 1797)
    assert found["purity"] == pytest.approx((trusted - 10) / trusted)
    assert found["least_class"] == pytest.approx((len(first) // 2) / len(first))


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pieces and results go to a temporary folder."""
    monkeypatch.setattr(pieces, "WORK", tmp_path / "work")
    monkeypatch.setattr(report, "RESULTS", tmp_path / "results")
    return tmp_path


def test_a_piece_is_measured_once_and_what_does_not_fit_is_left(work: Path) -> None:  # noqa: ARG001
    calls: list[int] = []
    for _ in range(2):
        kept = Pieces("some", Options(device="cpu"))
        assert kept.get("first", lambda: calls.append(1) or {"acc": 0.5}) == {"acc": 0.5}
    assert calls == [1]
    hurried = Pieces("some", Options(device="cpu", minutes=0.5))
    assert hurried.get("first", lambda: calls.append(1), seconds=60) == {"acc": 0.5}
    with pytest.raises(OutOfTime, match="second is left: run the same command again"):
        hurried.get("second", lambda: calls.append(1), seconds=60)
    assert calls == [1]
    other = Pieces("some", Options(device="cpu", images=7))
    assert other.get("first", lambda: 3) == 3  # another number of images is another measurement


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    assert main(["speeed"]) == 2
    assert (
        "no benchmark speeed: choose from cpu, gpu, app, operations, views"
        in capsys.readouterr().err
    )


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """CIFAR-10's layout in small: three kinds of drawn images, 60 to train on and 30 to test."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 60), ("test", 30)):
        for index in range(count):
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            if index % 3 == 1:
                pixels[12:20, :, 0] = 250
            elif index % 3 == 2:
                pixels[:, 12:20, 2] = 250
            folder = tmp_path / "bars" / split / f"kind-{index % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")
    return tmp_path / "bars"


def test_a_subset_has_every_class_equally_often(bars: Path) -> None:
    opened = photos(Options(data=bars), "train", 12)
    assert opened.truth is not None
    assert np.bincount(opened.truth.labels).tolist() == [4, 4, 4]
    whole = photos(Options(data=bars), "train")
    place = whole.images.ids.index(opened.images.ids[5])
    assert np.array_equal(whole.images.pixels[place], opened.images.pixels[5])


def test_a_long_run_goes_on_in_slices_and_ends_in_a_table(
    work: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cifar10, "LEAST_SLICE_SECONDS", 0.5)
    settings = (
        "encoder.width=4", "features.epochs=8", "features.batch=16", "heads.epochs=2",
        "heads.images=60", "joint.steps=10", "joint.batch=4", "reliable.agreement=0.2",
        "reliable.confidence=0.2",
    )  # fmt: skip
    interruptions = 0
    for _ in range(40):
        # Each time there is room for one slice or two.
        options = Options(
            device="cpu", minutes=1.5 / 60, data=bars, images=60, seeds=1, assignments=settings
        )
        try:
            cifar10.measure(options)
            break
        except OutOfTime:
            interruptions += 1
    assert interruptions > 0
    data = json.loads((work / "results" / "cifar10-cpu.json").read_text())
    (run,) = data["runs"]
    assert 0.3 <= run["test"]["acc"] <= 1
    assert run["summary"]["state"] == "finished"
    stages = [point["stage"] for point in run["curve"]]
    assert stages[0] == "features"
    assert stages[-1] == "joint"
    seconds = [point["seconds"] for point in run["curve"]]
    assert seconds == sorted(seconds)
    assert "neighbors" in run["curve"][0]
    text = (work / "results" / "cifar10-cpu.md").read_text()
    assert "| test ACC |" in text
    assert "encoder.width = 4" in text


def test_a_stage_is_timed_until_its_time_is_up() -> None:
    config = speed.settings(
        encoder__backbone="small", encoder__width=4, features__batch=8, joint__batch=4,
        heads__images=40, heads__heads=2,
    )  # fmt: skip
    bench = speed.Bench(config, torch.device("cpu"), 64, 0.1)
    found = {stage: getattr(bench, stage)() for stage in ("stage1", "stage2", "stage3")}
    assert all(one["images_per_second"] > 0 for one in found.values())
    assert found["stage1"]["tflops"] > 0


def test_operations_of_a_training_step_are_those_one_counts_by_hand() -> None:
    config = speed.settings(
        encoder__backbone="small", encoder__width=4, features__objective="simclr",
        features__hidden=16, features__projection=8,
    )  # fmt: skip
    counted = speed.Bench(config, torch.device("cpu"), 32, 0.1)._stage1_flop()
    # Multiply-adds of the forward pass of a view: nine per weight of a 3×3 kernel and pixel.
    convolutions = 9 * ((3 * 4 + 2 * 4 * 4) * 32**2 + (4 * 8 + 2 * 8 * 8) * 16**2 + 8 * 16 * 8**2)
    # Forward, and twice as much backward (but the first layer passes no gradient to its input).
    per_view = 2 * (3 * convolutions - 9 * 3 * 4 * 32**2)
    assert counted == pytest.approx(2 * per_view, rel=0.02)
