"""`python -m benchmarks gpu`: rehearsed on the CPU without the app's libraries, and on a fake GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import gpu
from benchmarks.gpu import check, packed, run, speed
from benchmarks.gpu.sitting import Sitting, Unfit
from benchmarks.pieces import Options, OutOfTime
from benchmarks.report import ROOT
from engine import metrics
from engine.config import EncoderSettings
from engine.errors import SettingError, SpiceError
from engine.presets import preset
from engine.sources.open_source import open_source
from engine.stages.encoder import Encoder, initialise
from tests.fake_cuda import FakeCuda, place_of

# Libraries that a training machine does not have.
OF_THE_APP = ("streamlit", "faiss", "umap", "plotly", "kornia", "playwright")
SMALL = (
    "encoder.backbone=small",
    "encoder.width=4",
    "features.hidden=16",
    "features.projection=8",
    "heads.heads=3",
    "heads.epochs=2",
    "heads.images=100",
    "reliable.agreement=0.2",
    "reliable.confidence=0",
    "reliable.neighbors=5",
    "joint.batch=8",
)
SHORT = ("features.epochs=2", "joint.steps=3")
LEFT = {"log.txt", "gpu.json", "gpu.md", "stage1.npz", "joint.npz", "arrays.npz"}


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small copy of CIFAR-10's layout: ten kinds of drawn images, 120 for training and 60 for testing."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("bars")
    for split, count in (("train", 120), ("test", 60)):
        for index in range(count):
            pixels = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8)
            kind = index % 10
            pixels[3 * kind : 3 * kind + 3, :, kind % 3] = 250
            folder = root / split / f"kind-{kind}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index:03d}.png")
    return root


def words(bars: Path, out: Path, *more: str, settings: tuple[str, ...] = (*SMALL, *SHORT)) -> list[str]:
    sets = [word for one in settings for word in ("--set", one)]
    usual = ["gpu", "--device", "cpu", "--images", "100", "--minutes", "20"]
    return [*usual, "--data", str(bars), "--out", str(out), *sets, *more]


def rehearse(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs the command in a separate process that cannot import the app's libraries."""
    code = (
        "import sys\n"
        f"for name in {OF_THE_APP}: sys.modules[name] = None\n"
        "from benchmarks.__main__ import main\n"
        f"sys.exit(main({arguments}))"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.fixture(scope="module")
def rehearsed(bars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sitting") / "out"
    done = rehearse(words(bars, out, "--commit", "abc1234"))
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def figures(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "gpu.json").read_text()))


def test_a_sitting_leaves_its_files_and_says_where_they_come_from(rehearsed: Path) -> None:
    assert {path.name for path in rehearsed.iterdir()} == LEFT
    found, text = figures(rehearsed), (rehearsed / "gpu.md").read_text()
    assert found["commit"] == "abc1234"
    assert {"date", "device", "libraries", "check", "speed", "run"} <= found.keys()
    assert text.startswith("# A rehearsal without a GPU")
    assert "abc1234" in text
    assert str(ROOT) not in text + (rehearsed / "gpu.json").read_text()


def test_every_check_passes_or_says_that_only_a_gpu_can_have_it(rehearsed: Path) -> None:
    found = figures(rehearsed)["check"]
    assert list(found) == list(check.CHECKS)
    skipped = {name for name, one in found.items() if "skipped" in one}
    assert skipped == {"steps that wait for nothing", "out of memory: batches not halved"}
    assert all(one["passed"] for name, one in found.items() if name not in skipped)


def test_each_stage_and_objective_has_a_pace_and_the_preset_a_forecast(rehearsed: Path) -> None:
    found = figures(rehearsed)["speed"]
    for name in ("stage 1, BYOL", "stage 1, SimCLR", "stage 1, MoCo", "stage 2", "stage 3"):
        assert found[name]["images_per_second"] > 0
        assert "share" not in found[name]  # the peak of a CPU is unknown
    assert found["profile"]["kernels"]
    slow = found["one image at a time"]
    ours = found["stage 1, MoCo, batch 128"]["images_per_second"]
    assert slow["ratio"] == pytest.approx(ours / slow["images_per_second"], abs=0.06)
    # Two epochs of 50,000; two rounds of 100 images with eight passes; three steps of 8 + 2 · 32 images.
    work = {"stage 1, BYOL": 100_000, "stage 2": 1600, "stage 3": 216}
    minutes = sum(images / found[name]["images_per_second"] / 60 for name, images in work.items())
    assert found["forecast"]["minutes"] == pytest.approx(minutes, abs=0.02)


def test_accuracies_are_those_of_the_arrays_that_came_back(rehearsed: Path, bars: Path) -> None:
    said = figures(rehearsed)["run"]
    opened = open_source(f"folder:{bars / 'train'}", size=32, labels=True)
    assert opened.truth is not None
    kept = np.concatenate([np.flatnonzero(opened.truth.labels == kind)[:10] for kind in range(10)])
    truth = opened.truth.labels[np.sort(kept)]
    with np.load(rehearsed / "arrays.npz") as arrays:
        heads, joint = arrays["probabilities"].argmax(1), arrays["joint_probabilities"].argmax(1)
        reliable = arrays["verdicts"] == 0
        # Kept in half precision, two classes may be equally likely.
        own, belief = arrays["head_labels"][arrays["chosen"]].astype(int), arrays["probabilities"]
        assert np.array_equal(belief[np.arange(len(own)), own], belief.max(1))
        heads = own
    assert said["summary"]["state"] == "finished"
    assert said["summary"]["truth"]["stage2"]["acc"] == pytest.approx(metrics.accuracy(heads, truth))
    assert said["summary"]["truth"]["stage3"]["acc"] == pytest.approx(metrics.accuracy(joint, truth))
    assert reliable.any()
    for stage in ("stage 1", "stage 2", "stage 3"):
        assert 0 < said[stage]["acc"] <= 1
    assert [point["step"] for point in said["curve"]][-1] == 2
    text = (rehearsed / "gpu.md").read_text()
    assert f"| stage 3 | {said['stage 3']['acc']:.4f} | {said['stage 3']['nmi']:.4f} |" in text


def test_a_second_sitting_goes_on_from_the_first_ones_stage_1(rehearsed: Path, bars: Path, tmp_path: Path) -> None:
    asked = words(
        bars,
        tmp_path / "out",
        "--only",
        "run",
        "--from",
        str(rehearsed / "stage1.npz"),
        settings=(*SMALL, "joint.steps=2"),
    )
    done = rehearse(asked)
    assert done.returncode == 0, done.stderr[-2000:]
    (before, _), (after, card) = (packed.read(one / "stage1.npz") for one in (rehearsed, tmp_path / "out"))
    assert card["made"]["epochs"] == 0
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert figures(tmp_path / "out")["run"]["schedule"]["paces"]["stage 1"] is None
    assert "speed" not in figures(tmp_path / "out")


# -- the schedule ------------------------------------------------------------------------------


class Paced:
    """Stands in for the bench that measures a pace."""

    def __init__(self, *_: object) -> None: ...

    def stage1(self) -> dict[str, float]:
        return {"images_per_second": 24_000.0}

    def stage3(self) -> dict[str, float]:
        return {"images_per_second": 90_000.0}


def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, *settings: str) -> dict[str, Any]:
    monkeypatch.setattr(run, "Bench", Paced)
    monkeypatch.setattr(Options, "seconds_left", lambda _: seconds)
    monkeypatch.setattr(Sitting, "gpu", True)
    sitting = Sitting(Options(assignments=settings), tmp_path / f"{seconds}", torch.device("cpu"))
    config = run.scheduled(sitting, sitting.config, 50_000)
    return {"epochs": config.features.epochs, "steps": config.joint.steps}


def test_epochs_and_steps_are_what_the_time_allows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # 480 s less 60 s: .58 of 420 s at 24,000 images/s for epochs of 50,000, .37 at 90,000 for steps of 256 + 2 · 1,024.
    assert planned(tmp_path, monkeypatch, 480) == {"epochs": 116, "steps": 6070}
    # Never more than the preset, and requested values stay.
    assert planned(tmp_path, monkeypatch, 4800) == {"epochs": 200, "steps": 10_000}
    asked = planned(tmp_path, monkeypatch, 479, "features.epochs=7")
    assert asked["epochs"] == 7
    alone = planned(tmp_path, monkeypatch, 478, "features.source=encoder:small-cifar100", "features.epochs=0")
    assert alone == {"epochs": 0, "steps": 10_000}
    with pytest.raises(Unfit, match="50 s are left, but opening and scores need 60"):
        planned(tmp_path, monkeypatch, 50)


def test_a_part_without_time_is_left_and_said(bars: Path, tmp_path: Path) -> None:
    options = Options(
        device="cpu", minutes=0, data=bars, images=100, only="run", out=tmp_path / "out", assignments=SMALL
    )
    with pytest.raises(OutOfTime, match="s are left"):
        gpu.measure(options)
    assert "s are left" in figures(tmp_path / "out")["run"]["not begun"]["skipped"]


# -- packed weights ----------------------------------------------------------------------------


def test_weights_of_a_resnet_18_fit_in_15_mib_and_come_back_in_bfloat16() -> None:
    encoder = Encoder(EncoderSettings(), channels=3, side=32)
    initialise(encoder, torch.Generator().manual_seed(0))
    state = {**encoder.state_dict(), "count": torch.tensor(2**40 + 1)}
    content = packed.pack(state, {"side": 32})
    assert len(content) < 15 * 2**20
    back, card = packed.unpack(content)
    assert card == {"side": 32}
    assert list(back) == list(state)
    for name, value in state.items():
        narrow = value.to(torch.bfloat16).float() if value.is_floating_point() else value
        assert torch.equal(back[name], narrow), name


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"device": "auto"}, r"no GPU was found: this benchmark needs one; use --device cpu to rehearse"),
        ({"device": "cuda:9"}, r"device 'cuda:9' is not available here"),
        ({"only": "chek"}, r"--only chek: there is no 'chek'; choose from check, speed, run"),
        ({"data": Path("/nowhere")}, r"is not at /nowhere: name its folder or archive with --data"),
        ({"earlier": Path("/nowhere.npz")}, r"/nowhere.npz cannot be read \(No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(
    more: dict[str, Any], told: str, bars: Path, tmp_path: Path
) -> None:
    usual = {"device": "cpu", "data": bars, "out": tmp_path / "out", "assignments": SMALL}
    with pytest.raises(SpiceError, match=told):
        gpu.measure(Options(**{**usual, **more}))
    assert not (tmp_path / "out" / "gpu.json").exists()


def test_weights_of_another_network_are_refused(rehearsed: Path, tmp_path: Path) -> None:
    config = preset("fast", clusters=10, channels=3)
    card = packed.read(rehearsed / "stage1.npz")[1]
    told = r"holds the network small \(4\), but this sitting trains resnet18: name it with --set"
    with pytest.raises(SettingError, match=told):
        run.check_network(config, card, rehearsed / "stage1.npz")
    with pytest.raises(SettingError, match=r"joint.npz is not stage 1 of a sitting: name its stage1.npz"):
        run.check_network(config, packed.read(rehearsed / "joint.npz")[1], rehearsed / "joint.npz")
    for content in (b"", b"text", (rehearsed / "stage1.npz").read_bytes()[:2000]):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SettingError, match="holds no packed weights"):
            packed.read(tmp_path / "other")


def test_a_folder_that_cannot_be_used_is_named(rehearsed: Path) -> None:
    for out, told in (
        (rehearsed / "log.txt", "log.txt cannot be written to"),
        (rehearsed, "holds a sitting already: name another folder with --out"),
    ):
        with pytest.raises(SpiceError, match=told):
            Sitting(Options(), out, torch.device("cpu"))


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sitting = Sitting(Options(), tmp_path, torch.device("cpu"))
    sitting.write("a.npz", b"first")

    def full(path: Path, _content: bytes) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        sitting.write("a.npz", b"second")
    assert (tmp_path / "a.npz").read_bytes() == b"first"
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "log.txt"}


# -- on a fake GPU -----------------------------------------------------------------------------


def sitting_at(device: torch.device, out: Path) -> Sitting:
    return Sitting(Options(assignments=(*SMALL, "compute.precision=float32")), out, device)


def test_every_check_passes_on_a_gpu_that_computes_as_the_cpu_does(tmp_path: Path) -> None:
    with FakeCuda() as there:
        sitting = sitting_at(there.device, tmp_path)
        check.run(sitting)
    found = sitting.found["check"]
    assert list(found) == list(check.CHECKS)
    assert check.failed(found) == []
    assert not any("skipped" in one for one in found.values())


def test_a_gpu_that_computes_something_else_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, waits = check.contrastive_view, check.learn_features

    def off(x: torch.Tensor, *rest: Any) -> torch.Tensor:
        view = plain(x, *rest)
        return view if place_of(x).type == "cpu" else view + 1e-3  # as with TensorFloat-32

    def waiting(config: Any, pixels: Any, encoder: Any, **quiet: Any) -> Any:
        stop = quiet["stop"]
        return waits(config, pixels, encoder, **{**quiet, "stop": lambda: stop() or encoder.mean.sum().item() > 1e9})

    monkeypatch.setattr(check, "contrastive_view", off)
    monkeypatch.setattr(check, "learn_features", waiting)
    names = ("contrastive views: largest difference", "steps that wait for nothing")
    monkeypatch.setattr(check, "CHECKS", {name: check.CHECKS[name] for name in names})
    with FakeCuda() as there:
        sitting = sitting_at(there.device, tmp_path)
        check.run(sitting)
    found = sitting.found["check"]
    assert check.failed(found) == list(names)
    assert found[names[0]]["value"] == pytest.approx(1e-3, rel=0.01)
    assert "called a synchronizing CUDA operation (item" in found[names[1]]["error"]


def test_paces_are_measured_on_a_gpu_with_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "IMAGES", 64)
    monkeypatch.setattr(speed, "PACE", 0.1)
    settings = (*SMALL, "features.batch=16", "compute.precision=float32")
    with FakeCuda() as there:
        sitting = Sitting(Options(assignments=settings), tmp_path, there.device)
        measured = speed._Speed(sitting)
        sitting.found["speed"] = {"peak": {"float32": 0.5}}
        measured.pace("stage 1, BYOL", 1, {})
    one = sitting.found["speed"]["stage 1, BYOL"]
    assert one["images_per_second"] > 0
    assert one["share"] == pytest.approx(one["tflops"] / 0.5, abs=1e-3)
    assert "megabytes" in one
