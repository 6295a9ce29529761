"""The benchmarks count and write correctly; what they measure is not tested."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from benchmarks import browser, cifar10, curation, decisions, digits, made, made_history, pieces, report, speed
from benchmarks.__main__ import main
from benchmarks.cifar10_images import cifar10_images
from benchmarks.pieces import Options, OutOfTime, Pieces
from engine.errors import RunError
from engine.events import Emit, Progress, StageStarted
from engine.jobs import Control
from engine.runs.folder import RunFolder
from engine.runs.history import load_history, load_prototype_history
from engine.runs.maps import DEFAULT, artefact_of, load_map
from engine.runs.results import load_reliable, observe, summary
from engine.runs.runner import Device, execute
from engine.sources.open_source import open_source
from engine.space.neighbors import Neighbors, local_agreement
from spice_explorer import browsers


def test_spread_is_mean_deviation_and_lowest() -> None:
    assert report.spread([0.9, 1.0, 0.8]) == "0.900 ± 0.100 (0.800)"


def test_results_carry_where_they_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """A temporary folder for pieces and results."""
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
    with pytest.raises(OutOfTime, match="second is not measured yet: run the same command again"):
        hurried.get("second", lambda: calls.append(1), seconds=60)
    assert calls == [1]
    other = Pieces("some", Options(device="cpu", images=7))
    assert other.get("first", lambda: 3) == 3  # another number of images is another measurement


def test_an_unknown_benchmark_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["speeed"]) == 2
    assert "no benchmark speeed: choose from cpu, app, operations, views" in capsys.readouterr().err


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    """A small copy of CIFAR-10's layout: three kinds of drawn images, 60 for training and 30 for testing."""
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
    opened = cifar10_images(Options(data=bars), "train", 12)
    assert opened.truth is not None
    assert np.bincount(opened.truth.labels).tolist() == [4, 4, 4]
    whole = cifar10_images(Options(data=bars), "train")
    place = whole.images.ids.index(opened.images.ids[5])
    assert np.array_equal(whole.images.pixels[place], opened.images.pixels[5])


def test_a_long_run_goes_on_in_slices_and_ends_in_a_table(
    work: Path, bars: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slice_of_steps(folder: RunFolder, chosen: Device, _seconds: float) -> str:
        """Like the benchmark's function, but by steps instead of seconds: every machine stops at the same."""
        control, asked = Control(), itertools.count()

        def stop(emit: Emit) -> bool:
            return next(asked) > 15 or Control.asked_to_stop(control, emit)

        monkeypatch.setattr(control, "asked_to_stop", stop)
        seconds_left.append(0.0)
        with folder.lock():
            return execute(folder, chosen, control)

    seconds_left: list[float] = []
    monkeypatch.setattr(cifar10, "_slice", slice_of_steps)
    monkeypatch.setattr(Options, "seconds_left", lambda _: seconds_left[-1])
    settings = (
        "encoder.width=4",
        "features.epochs=8",
        "features.batch=16",
        "heads.epochs=2",
        "heads.images=60",
        "joint.steps=10",
        "joint.batch=4",
        "reliable.agreement=0.2",
        "reliable.confidence=0",
    )
    interruptions = 0
    for _ in range(40):
        seconds_left.append(1000.0)  # time for one slice
        options = Options(device="cpu", data=bars, images=60, seeds=1, assignments=settings)
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
        encoder__backbone="small",
        encoder__width=4,
        features__batch=8,
        joint__batch=4,
        heads__images=40,
        heads__heads=2,
        heads__epochs=1_000_000,
    )
    bench = speed.Bench(config, torch.device("cpu"), 64, 0.1)
    found = {stage: getattr(bench, stage)() for stage in ("stage1", "stage2", "stage3")}
    assert all(one["images_per_second"] > 0 for one in found.values())
    assert found["stage1"]["tflops"] > 0


def test_operations_of_a_training_step_are_those_one_counts_by_hand() -> None:
    config = speed.settings(
        encoder__backbone="small",
        encoder__width=4,
        features__objective="simclr",
        features__hidden=16,
        features__projection=8,
    )
    counted = speed.Bench(config, torch.device("cpu"), 32, 0.1)._stage1_flop()
    # Multiply-adds in the forward pass of a view: nine for each 3×3 kernel and pixel.
    convolutions = 9 * ((3 * 4 + 2 * 4 * 4) * 32**2 + (4 * 8 + 2 * 8 * 8) * 16**2 + 8 * 16 * 8**2)
    # Forward, and twice as much backward (but the first layer has no gradient for its input).
    per_view = 2 * (3 * convolutions - 9 * 3 * 4 * 32**2)
    assert counted == pytest.approx(2 * per_view, rel=0.02)


# -- a synthetic run ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small_made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """500 synthetic images in 4 clusters, with random places for its map so that none is computed."""
    folder = made.made_run(
        tmp_path_factory.mktemp("made") / "small", images=500, clusters=4, features=16, neighbors=20, size=12
    )
    places = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    folder.save(artefact_of(folder, DEFAULT), {"points": places})
    return folder


def test_a_made_up_run_says_that_it_finished_its_three_stages(small_made: RunFolder) -> None:
    said = summary(small_made, observe(small_made))
    assert said["state"] == "finished"
    assert said["images"] == 500
    for stage in ("stage1", "stage2", "stage3"):
        assert said["stages"][stage]["size_entropy"] > 0.8
        assert 0.5 < said["truth"][stage]["acc"] < 1
    assert 100 < said["reliable"]["count"] < 500
    assert sum(load_reliable(small_made, "joint").per_cluster) == said["reliable"]["count"]


def test_the_neighbours_of_a_made_up_run_are_ranked_by_their_true_cosine(small_made: RunFolder) -> None:
    near, vectors = small_made.load("neighbors"), small_made.load("features")["vectors"]
    assert near["ids"].shape == near["similarity"].shape == (500, 20)
    assert (near["ids"].dtype, near["similarity"].dtype) == (np.int32, np.float32)
    assert not (near["ids"] == np.arange(500)[:, None]).any()
    assert (np.diff(near["similarity"], axis=1) <= 0).all()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = np.einsum("nd,nkd->nk", unit, unit[near["ids"]])
    assert np.allclose(cosines, near["similarity"], atol=1e-5)
    own = load_reliable(small_made, "heads")
    kept = local_agreement(own.labels, Neighbors(near["ids"], near["similarity"]), 20)
    assert np.array_equal(kept, own.agreement)


def test_a_made_up_run_has_a_history_that_ends_where_the_run_does(small_made: RunFolder) -> None:
    history = load_history(small_made)
    assert history.stages == ("heads",) * 9 + ("joint",) * 9
    assert np.array_equal(history.labels[-1], load_reliable(small_made, "joint").labels)
    assert np.array_equal(history.labels[8], load_reliable(small_made, "heads").labels)
    assert 0 < np.count_nonzero(history.flips) < 500
    prototypes = load_prototype_history(small_made)
    assert prototypes is not None
    assert prototypes.prototypes.shape == (9, 4, 16)
    final = small_made.load("heads")
    assert np.allclose(prototypes.prototypes[-1], final["prototypes"], atol=1e-3)
    assert np.array_equal(prototypes.confident[-1], final["confident"][:, :16])
    assert small_made.load("frames/features-0004000")["vectors"].shape == (500, 16)


def test_kinds_of_made_up_images_look_different(small_made: RunFolder) -> None:
    truth = small_made.truth()
    assert truth is not None
    pixels = small_made.images().pixels.reshape(500, -1).astype(np.float32)
    means = np.stack([pixels[truth.labels == kind].mean(0) for kind in range(4)])
    nearest = ((pixels[:, None] - means) ** 2).sum(2).argmin(1)
    assert (nearest == truth.labels).mean() > 0.8


def test_a_made_up_run_can_go_without_truth_and_frames(tmp_path: Path) -> None:
    folder = made.made_run(
        tmp_path / "bare",
        images=60,
        clusters=3,
        features=8,
        neighbors=100,
        size=8,
        channels=1,
        truth=False,
        frames=False,
    )
    said = summary(folder, observe(folder))
    assert said["state"] == "finished"
    assert "truth" not in said
    assert not folder.has("frames")
    assert folder.images().pixels.shape == (60, 1, 8, 8)
    assert folder.load("neighbors")["ids"].shape == (60, 59)


def test_a_made_up_run_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"images": 60, "features": 8, "size": 8}
    with pytest.raises(RunError, match="clusters is 70, but made:60 has 60 images"):
        made.made_run(tmp_path / "many", clusters=70, **sizes)

    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(made_history, "save_frame", full)
    with pytest.raises(OSError, match="the disk is full"):
        made.made_run(tmp_path / "half", clusters=3, **sizes)
    assert not any(tmp_path.iterdir())
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError, match="choose another folder"):
        made.made_run(tmp_path / "there", clusters=3, **sizes)


@pytest.mark.parametrize("page", ["dataset", "train", "map", "prototypes", "reliability", "export"])
def test_every_page_shows_a_made_up_run(page: str, small_made: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPICE_EXPLORER_RUNS", str(small_made.path.parent))
    monkeypatch.setattr(browsers, "reviewer_cookie", str)  # there is no browser
    at = AppTest.from_file(str(report.ROOT / "spice_explorer" / "app.py"), default_timeout=60)
    at.query_params["run"] = "small"
    if page != "dataset":
        at.switch_page(f"../pages/{page}.py")
    at.run()
    shown = " ".join(one.proto.body for one in at.get("html"))
    assert f"<h1>{page.title()}</h1>" in shown
    assert "class='spice-empty'" not in shown
    assert "500 images · K = 4" in shown
    assert not at.exception
    assert [one.value for one in at.error] == []
    assert [one.value for one in at.warning] == []


# -- response times ----------------------------------------------------------------------------


def test_a_figure_is_judged_by_its_worst_value_or_by_its_quantile() -> None:
    values = [*range(1, 100), 1000.0]
    worst = browser.Figure("recoloured", "ms", 250, values)
    assert worst.row() == ["recoloured", "50 ms", "1,000 ms", "100", "< 250 ms", "**missed**"]
    most = browser.Figure("switch", "ms", 250, values, share=0.95)
    assert most.row()[-2:] == ["< 250 ms (p95: 95)", "met"]
    assert browser.Figure("frame", "ms", None, values).row()[-2:] == ["", ""]


def test_a_figure_taken_while_nothing_trained_is_refused(
    small_made: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "PATIENCE_SECONDS", 0.1)
    (tmp_path / "run.json").write_bytes((small_made.path / "run.json").read_bytes())
    folder = RunFolder(tmp_path)
    folder.append(StageStarted("features", 100))
    folder.append(Progress("features", 10, 1000.0, {"contrastive loss": 5.0}))
    training = browser.Training(folder)
    with training.going("the map"):
        folder.append(Progress("features", 14, 1000.0, {"contrastive loss": 4.0}))
    assert len(training.paces) == 1
    with pytest.raises(RuntimeError, match="nothing trained while the map was measured"), training.going("the map"):
        pass
    assert len(training.paces) == 1


def test_the_runs_that_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "IMAGES", 300)
    monkeypatch.setattr(browser, "MANY", 400)
    browser.make_runs(tmp_path)
    big, huge = RunFolder(tmp_path / browser.BIG), RunFolder(tmp_path / browser.HUGE)
    assert load_map(big) is None  # its first map is measured
    places = load_map(huge)
    assert places is not None
    assert places.shape == (400, 2)
    trains = RunFolder(tmp_path / browser.TRAINS)
    assert observe(trains).state == "interrupted"  # the Train page offers to resume it
    assert trains.card().config.features.epochs == browser.EPOCHS


# -- curation ------------------------------------------------------------------------------------


def test_decisions_that_an_accuracy_needs() -> None:
    found = [(0, 0.5), (10, 0.6), (20, 0.8)]
    assert curation.needed(found, 0.55, images=100) == 10
    assert curation.needed(found, 0.8, images=100) == 20
    # .1 of 100 images are missing, and each decision finds a mistake with probability .2
    assert curation.needed(found, 0.9, images=100) == pytest.approx(20 + 10 / 0.2)


def test_an_oracle_that_takes_the_doubtful_first_is_right_sooner(tmp_path: Path) -> None:
    run = made.made_run(tmp_path / "run", images=600, features=16, neighbors=20, frames=False)
    first = curation.Strategy(curation.rejected)
    random = curation.Strategy(curation.at_random)
    found = curation.curve(first, run, tmp_path / "a", 60, 20, "cpu")
    other = curation.curve(random, run, tmp_path / "b", 60, 20, "cpu")
    assert [made for made, _ in found] == [0, 20, 40, 60]
    assert found[0] == other[0]
    assert found[-1][1] > found[0][1]
    assert found[-1][1] >= other[-1][1]
    assert not (run.path / "decisions.sqlite").exists()


def test_a_long_log_is_what_it_says(tmp_path: Path) -> None:
    decisions.long_log(tmp_path, 500)
    kept = decisions._opened(tmp_path).decisions()
    assert len(kept) == 500
    assert sum(one.action == "undo" for one in kept) == 499 // decisions.UNDO_EVERY
