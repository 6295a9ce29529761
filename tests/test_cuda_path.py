"""The whole engine runs on fake GPUs with the same results as on the CPU: see `fake_cuda`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speed import CLUSTERS, all_reliable, untrained_heads
from engine.config import RunConfig, with_settings
from engine.data.batches import DeviceImages
from engine.data.images import ImageSet
from engine.data.truth import Truth
from engine.events import Alarm, Event, Progress
from engine.forecast.timing import Nothing
from engine.jobs import Control
from engine.lesson.em_steps import Steps
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.predict import predict_images
from engine.runs.results import observe
from engine.runs.runner import Device, choose_device, execute
from engine.sources.open_source import Opened
from engine.space.kmeans import lloyd
from engine.space.neighbors import nearest
from engine.stages import features as stage1
from engine.stages import loop
from engine.stages.features import Features, build_encoder, learn_features
from engine.stages.heads import learn_heads
from engine.stages.joint import learn_jointly
from engine.views import tone
from tests.fake_cuda import FakeCuda

IMAGES, SIDE = 24, 8
TINY = {
    "encoder.backbone": "small",
    "encoder.width": 4,
    "features.batch": 8,
    "features.epochs": 1,
    "features.projection": 8,
    "features.hidden": 8,
    "features.queue": 16,
    "features.norm_groups": 4,
    "heads.heads": 2,
    "heads.epochs": 2,
    "heads.images": 20,
    "heads.passes": 1,
    "heads.batch": 5,
    "reliable.neighbors": 3,
    "reliable.confidence": 0.0,
    "reliable.agreement": 0.0,
    "joint.steps": 3,
    "joint.batch": 4,
    "joint.unlabelled": 2,
    "joint.average": 0.9,
    "compute.precision": "float32",
}
Changes = dict[str, object]
Arrays = dict[str, np.ndarray]


def configured(changes: Changes) -> RunConfig:
    return with_settings(preset("fast", clusters=CLUSTERS, channels=3), {**TINY, **changes})


def drawn(count: int = IMAGES, seed: int = 0) -> ImageSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, SIDE, SIDE), dtype=np.uint8)
    return ImageSet(pixels, tuple(map(str, range(count))), "drawn")


def made(place: Path, changes: Changes, extra: ImageSet | None = None) -> RunFolder:
    truth = Truth(np.arange(IMAGES) % CLUSTERS, tuple("abcdefghij"))
    return create_run(place, Opened(drawn(), truth, extra=extra), configured(changes))


def trained(folder: RunFolder, device: str | torch.device, control: Control | None = None) -> Arrays:
    """The artefacts of the three stages, by name."""
    with folder.lock():
        state = execute(folder, Device(torch.device(device)), control or Control())
    assert state == "finished", observe(folder).message
    return {
        f"{artefact}/{name}": np.array(array)
        for artefact in ("features", "neighbors", "heads", "reliable-heads", "joint", "reliable-joint")
        for name, array in folder.load(artefact).items()
    }


def differing(one: Arrays, other: Arrays) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


RUNS: dict[str, Changes] = {
    "byol, flex": {},
    "moco, fixed, reliable set reselected": {"features.objective": "moco", "joint.adapt": "fixed", "joint.reselect": 1},
    "simclr, half-size views, soft": {"features.objective": "simclr", "features.coarse": 0.5, "joint.adapt": "soft"},
    "attract, random starts, free": {
        "features.objective": "attract",
        "heads.start": "random",
        "heads.choose": "loss",
        "joint.start": "random",
        "joint.adapt": "free",
    },
    "a trained encoder, exclusive": {
        "features.source": "encoder:small-cifar100",
        "features.epochs": 0,
        "heads.exclusive": True,
    },
}


@pytest.mark.parametrize("changes", RUNS.values(), ids=RUNS.keys())
def test_a_run_on_a_gpu_equals_one_on_the_cpu(changes: Changes, tmp_path: Path) -> None:
    with FakeCuda() as gpu:
        there = trained(made(tmp_path / "there", changes), "cuda")
    here = trained(made(tmp_path / "here", changes), "cpu")
    assert differing(there, here) == []
    assert not gpu.doubles  # Apple's GPUs have none, and others are slow with them


@pytest.mark.parametrize("extra", [None, drawn(9, seed=1)], ids=["own", "extra images too"])
@pytest.mark.parametrize("free", [2**30, 10_000], ids=["resident", "sent"])
def test_wherever_the_images_lie_the_result_is_the_same(free: int, extra: ImageSet | None, tmp_path: Path) -> None:
    with FakeCuda(free=free) as gpu:
        there = trained(made(tmp_path / "there", {}, extra), "cuda")
    assert differing(there, trained(made(tmp_path / "here", {}, extra), "cpu")) == []
    sent = sum(count for (way, _), count in gpu.copies.items() if way == "cpu→cuda pinned")
    assert (sent > 0) is (free < 4 * IMAGES * 3 * SIDE**2)


@pytest.mark.parametrize("free", [2**30, 1_000], ids=["resident", "sent"])
def test_wherever_external_vectors_lie_the_result_is_the_same(free: int, tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(IMAGES, 5)) + 3 * np.eye(5)[np.arange(IMAGES) % 5]
    np.save(tmp_path / "vectors.npy", vectors.astype(np.float32))
    changes = {"features.source": f"import:{tmp_path / 'vectors.npy'}"}
    with FakeCuda(free=free) as gpu:
        there = trained(made(tmp_path / "there", changes), "cuda")
    assert differing(there, trained(made(tmp_path / "here", changes), "cpu")) == []
    assert not gpu.doubles


def test_a_second_gpu_does_all_of_it(tmp_path: Path) -> None:
    with FakeCuda(count=2):
        chosen = choose_device("cuda:1")
        there = trained(made(tmp_path / "there", {}), chosen.device)
    assert observe(RunFolder(tmp_path / "there")).device == "cuda:1"
    assert differing(there, trained(made(tmp_path / "here", {}), "cpu")) == []


class StopAt(Control):
    """Stops a run at its question number `asked`."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked

    def asked_to_stop(self, _emit: Callable[[Event], None]) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_run_that_stopped_anywhere_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    changes = {"features.epochs": 2}
    whole = trained(made(tmp_path / "here", changes), "cpu")
    for asked in (3, 8, 10):  # within each stage: six steps, two rounds, three steps
        folder = made(tmp_path / str(asked), changes)
        with FakeCuda(), folder.lock():
            assert execute(folder, Device(torch.device("cuda")), StopAt(asked)) == "stopped"
        assert any(folder.path.glob("checkpoint-*.pt")), asked
        with FakeCuda():
            assert differing(trained(folder, "cuda"), whole) == []


def test_when_the_gpu_is_full_batches_are_halved_and_training_goes_on(tmp_path: Path) -> None:
    # Two views of all images at once are the largest tensor: twice what is encoded at a time.
    changes = {
        "features.batch": IMAGES,
        "features.objective": "simclr",
        "features.epochs": 2,
        "views.strong.tones": "light",
        "views.joint.tones": "light",
    }
    with FakeCuda() as gpu:
        trained(made(tmp_path / "roomy", {**changes, "joint.steps": 1}), "cuda")
        largest = gpu.largest
    folder = made(tmp_path / "tight", changes)
    with FakeCuda(memory=int(0.8 * largest)), folder.lock():
        state = execute(folder, Device(torch.device("cuda")), Control())
    alarms = [record.event for record in folder.records()[0] if isinstance(record.event, Alarm)]
    halved = [one for one in alarms if "two halves" in one.cure]
    assert state == "finished", observe(folder).message
    assert [one.cause for one in halved] == ["cuda ran out of memory"] * len(halved)
    assert halved


def test_a_gpu_that_stays_full_fails_with_a_cure_and_damages_nothing(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", {})
    with FakeCuda(memory=5000), folder.lock():
        assert execute(folder, Device(torch.device("cuda")), Control()) == "failed"
    assert observe(folder).message == ("cuda is out of memory: choose smaller batches, or train on the CPU")
    assert differing(trained(folder, "cpu"), trained(made(tmp_path / "here", {}), "cpu")) == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bf16", [True, False])
def test_a_gpu_multiplies_in_bfloat16_where_it_can(bf16: bool, tmp_path: Path) -> None:
    changes = {"compute.precision": "auto"}
    with FakeCuda(bf16=bf16):
        there = trained(made(tmp_path / "there", changes), "cuda")
    wide = trained(made(tmp_path / "here", {}), "cpu")
    assert bool(differing(there, wide)) is bf16


def test_what_is_looked_at_afterwards_is_the_same_too(tmp_path: Path) -> None:
    folder = made(tmp_path / "run", {})
    trained(folder, "cpu")
    others, cpu = drawn(7, seed=2), torch.device("cpu")
    with FakeCuda() as gpu:
        there = predict_images(folder, others, gpu.device).probabilities
        steps = Steps(folder, gpu.device)
        halves = [steps.advance() for _ in range(4)]
        beliefs = [half.now.belief.cpu().numpy() for half in halves]
    assert np.array_equal(there, predict_images(folder, others, cpu).probabilities)
    steps = Steps(folder)
    for belief in beliefs:
        assert np.array_equal(steps.advance().now.belief.numpy(), belief)


def test_neighbours_and_k_means_are_the_same(chance: torch.Generator) -> None:
    x = torch.rand(40, 5, generator=chance)
    with FakeCuda() as gpu:
        ids = nearest(x.numpy(), 6, device=gpu.device).ids
        labels = lloyd(x.to(gpu.device), 3, 0, starts=2).cpu().numpy()
    assert np.array_equal(ids, nearest(x.numpy(), 6).ids)
    assert np.array_equal(labels, lloyd(x, 3, 0, starts=2).numpy())


# -- what a step costs -------------------------------------------------------------------------


class Watched:
    """The three stages on the fake GPU without frames, with the waits and copies of each step."""

    def __init__(self, gpu: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gpu, self.marks = gpu, list[tuple[Counter[str], Counter[str]]]()
        monkeypatch.setattr(loop, "REPORT_SECONDS", 1e9)
        add = loop._Meter.add

        def marked(meter: loop._Meter, report: loop.Report) -> None:
            add(meter, report)
            self.marks.append((self._by_line(gpu.waits), self._by_line(gpu.copies)))

        monkeypatch.setattr(loop._Meter, "add", marked)

    @staticmethod
    def _by_line(counted: Counter[tuple[str, str]]) -> Counter[str]:
        found: Counter[str] = Counter()
        for (what, line), count in counted.items():
            found[f"{what} in {line.split(':')[0]}"] += count
        return found

    def per_step(self) -> tuple[dict[str, int], dict[str, int]]:
        """The waits and copies of one step, which must be the same for all steps after the first."""
        steps = [
            (after[0] - before[0], after[1] - before[1])
            for before, after in zip(self.marks, self.marks[1:], strict=False)
        ]
        assert len(steps) > 1
        assert all(step == steps[0] for step in steps)
        return dict(steps[0][0]), dict(steps[0][1])


def stage(name: str, config: RunConfig, device: torch.device) -> None:
    pixels = DeviceImages(drawn(), device)
    encoder = build_encoder(config, pixels, channels=3, side=SIDE)
    quiet = {"emit": lambda _: None, "stop": lambda: False, "checkpoint": Nothing()}
    if name == "features":
        learn_features(config, pixels, encoder, **quiet)
        return
    vectors = np.random.default_rng(0).normal(size=(IMAGES, encoder.features)).astype(np.float32)
    features = Features(encoder.eval(), vectors)
    if name == "heads":
        learn_heads(config, pixels, features, **quiet)
        return
    heads = untrained_heads(encoder.features, device)
    learn_jointly(config, pixels, features, heads, all_reliable(IMAGES), **quiet)


@pytest.mark.parametrize("objective", ["byol", "simclr", "moco"])
def test_a_step_of_stage_1_waits_for_nothing_and_sends_its_ids_alone(
    objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeCuda() as gpu:
        watched = Watched(gpu, monkeypatch)
        stage("features", configured({"features.objective": objective, "features.epochs": 2}), gpu.device)
    assert watched.per_step() == ({}, {"cpu→cuda in data/batches.py": 1})


@pytest.mark.parametrize("adapt", ["fixed", "flex", "free", "soft"])
def test_a_step_of_stage_3_waits_for_nothing_and_sends_ids_and_labels_alone(
    adapt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeCuda() as gpu:
        watched = Watched(gpu, monkeypatch)
        stage("joint", configured({"joint.adapt": adapt, "joint.steps": 5}), gpu.device)
    # Two batches of ids; the labels of one, and the ids of the other again, for the thresholds.
    copies = {"cpu→cuda in data/batches.py": 2, "cpu→cuda in stages/joint.py": 2}
    assert watched.per_step() == ({}, copies)


def test_a_round_of_stage_2_waits_only_to_say_how_large_the_clusters_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCuda() as gpu:
        watched = Watched(gpu, monkeypatch)
        stage("heads", configured({"heads.epochs": 4, "heads.images": IMAGES}), gpu.device)
    waits, copies = watched.per_step()
    assert waits == {
        "copy cpu→cuda in stages/heads.py": 1,  # ids
        "item in stages/heads.py": 1,  # the best head of the M-step
        "bincount in stages/heads.py": 1,  # sizes of its clusters
        "tolist in stages/heads.py": 1,
        "nonzero in stages/prototypes.py": 1,  # decided labels
        "copy cuda→cpu in stages/heads.py": 1,  # labels by which the heads are judged, once in an epoch of N/M rounds
    }
    assert copies == {
        "cpu→cuda in data/batches.py": 2,
        "cpu→cuda in stages/heads.py": 1,
        "cuda→cpu in stages/heads.py": 1,
    }


# -- does the fake detect mistakes? ------------------------------------------------------------


def test_what_cuda_refuses_is_refused() -> None:
    with FakeCuda(count=2) as gpu:
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert (there.device, there.is_cuda, here.is_cuda) == (gpu.device, True, False)
        with pytest.raises(RuntimeError, match="same device, but add"):
            there + here
        with pytest.raises(RuntimeError, match="same device, but add"):
            there + torch.ones(3, device="cuda:1")
        with pytest.raises(RuntimeError, match="same device, but index"):
            here[torch.zeros(2, dtype=torch.int64, device="cuda")]
        with pytest.raises(TypeError, match=r"Use Tensor\.cpu\(\) first"):
            there.numpy()
        with pytest.raises(RuntimeError, match="device type for generator"):
            torch.rand(2, device="cuda", generator=torch.Generator())
        assert not gpu.waits
        assert (there * torch.tensor(2.0)).sum().item() == 6  # a 0-d CPU tensor is allowed
        assert there[torch.tensor([1, 2])].cpu().tolist() == [1, 1]
    assert {what for what, _ in gpu.waits} == {"item", "copy cpu→cuda", "copy cuda→cpu"}


def _constants_left_behind(_device: torch.device) -> tuple[torch.Tensor, ...]:
    return tone._TO_YIQ, tone._FROM_YIQ, tone._TO_GREY


@pytest.mark.parametrize(
    ("module", "name", "mistake", "told"),
    [
        (tone, "_constants", _constants_left_behind, "same device"),
        (stage1, "seeded", lambda seed, purpose, step=0, _device="cpu": loop.seeded(seed, purpose, step), "generator"),
    ],
    ids=["a constant left behind", "a generator of the CPU"],
)
def test_a_mistake_that_is_planted_in_the_engine_is_seen(
    module: object, name: str, mistake: object, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, name, mistake)
    with FakeCuda() as gpu, pytest.raises(RuntimeError, match=told):
        stage("features", configured({}), gpu.device)


def test_a_loss_that_is_read_after_each_step_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeCuda() as gpu:
        watched = Watched(gpu, monkeypatch)
        monkeypatch.setattr(loop, "REPORT_SECONDS", -1.0)
        said: list[Event] = []
        pixels = DeviceImages(drawn(), gpu.device)
        config = configured({"features.epochs": 2})
        learn_features(
            config,
            pixels,
            build_encoder(config, pixels, channels=3, side=SIDE),
            emit=said.append,
            stop=lambda: False,
            checkpoint=Nothing(),
        )
    assert sum(isinstance(event, Progress) for event in said) == 6
    assert watched.per_step()[0] == {"item in stages/loop.py": 1}
