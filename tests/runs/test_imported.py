"""Runs whose stage 1 comes from elsewhere: external vectors, and torchvision's networks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import models

from engine.config import with_settings
from engine.curate.guidance import Guidance
from engine.errors import RunError, SettingError, SourceError
from engine.events import Alarm, Scored, StageFinished, StageSkipped
from engine.exports.label_table import export_table
from engine.jobs import Control
from engine.lesson.chapters import chapters
from engine.lesson.em_steps import Steps
from engine.lesson.failure_trials import missing
from engine.lesson.run_view import Material
from engine.networks import torchvision_networks
from engine.runs.create import branch_decided, branch_run, create_run
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.initial_weights import check_beginning
from engine.runs.predict import encoder_file, predict_images
from engine.runs.results import load_reliable, newest_stage, observe, summary
from engine.runs.runner import choose_device, execute
from engine.sources.open_source import Opened
from engine.stages.encoder import Adapter, adapted
from engine.stages.encoder_file import load_encoder, read_card
from tests.runs.test_pipeline import StopAfter
from tests.tiny_runs import WITHOUT_ADAPTER, MakeRun, drawn, tiny_config, unpacked

CPU = choose_device("cpu")
IMAGES, TRUTH = drawn()
# The smallest of torchvision's classifiers.
MODEL = "shufflenet_v2_x0_5"


def vectors() -> np.ndarray:
    """(60, 5) float32: three directions, one for each kind of drawn image, with noise."""
    chance = np.random.default_rng(0)
    return (np.eye(5)[TRUTH.labels] + chance.normal(0, 0.1, (60, 5))).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    np.save(tmp_path / "vectors.npy", vectors())
    return tmp_path / "vectors.npy"


def finish(folder: RunFolder) -> RunFolder:
    with folder.lock():
        assert execute(folder, CPU, Control()) == "finished", observe(folder).message
    return folder


def below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def arrays(folder: RunFolder, artefact: str) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in folder.load(artefact).items()}


@pytest.fixture
def imported(make_run: MakeRun, file: Path) -> RunFolder:
    choices = {"features.source": f"import:{file}", "heads.epochs": 20, "heads.passes": 8}
    return finish(make_run("imported", **choices))


# -- vectors -----------------------------------------------------------------------------------


def test_vectors_are_what_the_adapter_is_given_and_all_three_stages_are_trained(imported: RunFolder) -> None:
    features = arrays(imported, "features")
    np.testing.assert_array_equal(features["clean"], vectors())
    adapter = Adapter.of(imported.weights("features"))
    np.testing.assert_array_equal(features["vectors"], adapted(adapter, vectors()))
    assert (features["vectors"].shape, features["vectors"].dtype) == ((60, 5), np.float32)
    now = observe(imported)
    assert now.stages["features"].truth["acc"] == 1
    assert now.stages["heads"].truth["acc"] == 1
    assert now.stages["features"].steps == 0
    assert [step for stage, step in frame_steps_of(imported) if stage == "features"] == [0]
    assert now.stages["joint"].truth["acc"] == 1
    assert newest_stage(imported) == "joint"
    assert set(export_table(imported, now).stage) == {"joint"}


def test_stage_3_trains_the_adapter_and_not_its_directions(imported: RunFolder) -> None:
    before, after = imported.weights("features"), below(imported.weights("joint"), "encoder.")
    assert before["outer.weight"].abs().max() == 0
    assert after["outer.weight"].abs().max() > 0
    assert torch.equal(before["directions"], after["directions"])
    events = [record.event for record in imported.records()[0]]
    assert [event.stage for event in events if isinstance(event, StageFinished)] == ["features", "heads", "joint"]
    assert not any(isinstance(event, StageSkipped) for event in events)
    found = summary(imported, observe(imported))
    assert "skipped" not in found
    assert found["seconds"]["stage3"] > 0


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_size_of_the_numbers_does_not_matter(
    make_run: MakeRun, imported: RunFolder, file: Path, scale: float
) -> None:
    np.save(file, vectors() * scale)
    choices = {"features.source": f"import:{file}", "heads.epochs": 20, "heads.passes": 8}
    other = finish(make_run("other", **choices))
    np.testing.assert_allclose(other.load("heads")["probabilities"], imported.load("heads")["probabilities"], atol=0.02)


def test_a_run_with_all_stages_skips_none(make_run: MakeRun) -> None:
    folder = finish(make_run())
    assert "skipped" not in summary(folder, observe(folder))


def test_the_run_has_vectors_of_its_own(make_run: MakeRun, file: Path) -> None:
    whole, broken = (make_run(n, **{"features.source": f"import:{file}"}) for n in ("a", "b"))
    file.unlink()
    finish(whole)
    assert execute(broken, CPU, StopAfter(2)) == "stopped"
    assert broken.has("features")
    assert not broken.has("heads")
    finish(broken)
    for artefact in ("features", "heads", "reliable-heads", "joint", "reliable-joint"):
        one, other = arrays(whole, artefact), arrays(broken, artefact)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    shutil.rmtree(broken.path / "features")  # as the message for damaged files advises
    finish(broken)
    np.testing.assert_array_equal(arrays(broken, "features")["clean"], vectors())
    np.testing.assert_array_equal(arrays(broken, "features")["vectors"], arrays(whole, "features")["vectors"])


# Stage 2 asks three times whether to stop, stage 3 six times.
@pytest.mark.parametrize("asked", [2, 6, 8])
def test_a_run_that_was_stopped_equals_one_that_was_not(make_run: MakeRun, file: Path, asked: int) -> None:
    whole, stopped = (make_run(n, **{"features.source": f"import:{file}"}) for n in ("a", "b"))
    finish(whole)
    with stopped.lock():
        assert execute(stopped, CPU, StopAfter(asked)) == "stopped"
    assert stopped.has("heads") == (asked > 4)
    assert not stopped.has("joint")
    finish(stopped)
    for artefact in ("heads", "joint"):
        one, other = arrays(whole, artefact), arrays(stopped, artefact)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{artefact} {name}")


def test_vectors_are_kept_once_on_the_disk(imported: RunFolder) -> None:
    one, other = imported.path / IMPORTED / "vectors.npy", imported.path / "features" / "clean.npy"
    assert one.samefile(other)


def test_a_run_with_vectors_that_do_not_fit_is_not_made(make_run: MakeRun, file: Path, tmp_path: Path) -> None:
    np.save(file, vectors()[:59])
    for refused in (
        lambda: make_run("run", **{"features.source": f"import:{file}"}),
        lambda: check_beginning(f"import:{file}", IMAGES),
    ):
        with pytest.raises(SourceError, match="59 rows, but drawn has 60 images"):
            refused()
    assert list(tmp_path.iterdir()) == [file]


def test_a_table_is_matched_with_the_images_by_name(make_run: MakeRun, tmp_path: Path) -> None:
    import pandas as pd

    order = np.random.default_rng(1).permutation(60)
    names = [IMAGES.ids[one] for one in order]
    table = pd.DataFrame(vectors()[order], columns=list("abcde")).assign(image=names)
    table.to_parquet(tmp_path / "v.parquet")
    folder = finish(make_run(**{"features.source": f"import:{tmp_path / 'v.parquet'}"}))
    np.testing.assert_array_equal(arrays(folder, "features")["clean"], vectors())


def test_what_needs_a_network_says_that_there_is_none(imported: RunFolder) -> None:
    for asked in (lambda: predict_images(imported, IMAGES, CPU.device), lambda: encoder_file(imported)):
        with pytest.raises(RunError, match=r"took its features from import:.*, and has no network"):
            asked()


def blobs(images: int, features: int, seed: int = 0) -> np.ndarray:
    """(N, D) float32: three directions, one for each kind of drawn image, and noise of a third of their length."""
    chance = np.random.default_rng(seed)
    directions = np.zeros((3, features))
    directions[:, :2] = [[1, 0], [-0.5, 0.87], [-0.5, -0.87]]
    noise = chance.normal(0, 0.3 / np.sqrt(features), (images, features))
    return (directions[np.arange(images) % 3] + noise).astype(np.float32)


@pytest.mark.parametrize(
    ("images", "features", "width"), [(300, 20, 20), (300, 1500, 256), (60, 1500, 60), (60, 2, 2)], ids=str
)
def test_stage_3_is_at_least_about_as_good_as_stage_2(tmp_path: Path, images: int, features: int, width: int) -> None:
    np.save(tmp_path / "vectors.npy", blobs(images, features))
    pictures, truth = drawn(images=images)
    choices = {"features.source": f"import:{tmp_path / 'vectors.npy'}", "heads.epochs": 8, "joint.steps": 60}
    choices |= {"heads.heads": 10, "joint.average": 0.9}
    folder = finish(create_run(tmp_path / "run", Opened(pictures, truth=truth), tiny_config(**choices)))
    assert folder.load("features")["vectors"].shape == (images, width)
    assert folder.load("heads")["prototypes"].shape == (3, width)
    stages = observe(folder).stages
    assert stages["heads"].truth["acc"] >= 0.95
    assert stages["joint"].truth["acc"] >= max(0.95, stages["heads"].truth["acc"] - 0.02)


def test_vectors_that_differ_in_length_alone_fail_with_a_cure(make_run: MakeRun, file: Path) -> None:
    np.save(file, np.arange(1, 61, dtype=np.float32)[:, None] * np.float32([3, 1, 2]))
    folder = make_run(**{"features.source": f"import:{file}"})
    with folder.lock():
        assert execute(folder, CPU, Control()) == "failed"
    assert "the features of all 60 images point the same way: expected features that differ" in observe(folder).message
    assert not folder.has("features")


def test_a_file_that_is_lost_is_named_and_made_again_and_the_run_does_not_pass_for_an_earlier_one(
    imported: RunFolder,
) -> None:
    file = imported.path / "features" / "clean.npy"
    file.unlink()
    assert not imported.lacks_adapter
    with imported.lock():
        assert execute(imported, CPU, Control()) == "finished"
    assert "features is damaged (clean.npy is missing)" in [one.cause for one in observe(imported).alarms]
    assert file.exists()


# -- runs of an earlier version, which took vectors as they are and skipped stage 3 ------------------


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """Two runs on the 60 vectors, written by its code: one finished, one stopped in stage 2."""
    return unpacked(WITHOUT_ADAPTER, tmp_path)


def test_an_earlier_run_is_shown_as_it_was(earlier: Path) -> None:
    folder = RunFolder(earlier / "finished")
    now = observe(folder)
    assert summary(folder, now)["skipped"] == {
        "stage3": "it would train the encoder, but external vectors come without one"
    }
    assert (now.state, now.stages["heads"].truth["acc"], newest_stage(folder)) == ("finished", 1, "heads")
    lesson = {one["key"]: one["needs"] for one in chapters(Material(folder))}
    assert [key for key, needs in lesson.items() if needs] == ["views", "joint"]
    assert "An earlier version trained this run, without stage 3" in lesson["joint"]
    assert missing(folder) == []


def test_an_earlier_run_that_is_done_ends_as_it_was_and_says_why(earlier: Path) -> None:
    folder = RunFolder(earlier / "finished")
    before = arrays(folder, "heads")
    finish(folder)
    for name, array in arrays(folder, "heads").items():
        np.testing.assert_array_equal(array, before[name])
    [alarm] = [record.event for record in folder.records()[0] if isinstance(record.event, Alarm)]
    assert (alarm.stage, alarm.cure) == ("joint", "start a new run on the same vectors")
    assert "this run has no stage 3: an earlier version trained it" in alarm.cause
    assert not folder.has("joint")
    for asked in (lambda: branch_run(folder, earlier / "branch", folder.card().config), lambda: Steps(folder)):
        with pytest.raises(RunError, match=r"an earlier version trained it on external vectors.*: start a new run"):
            asked()


def test_an_earlier_run_that_was_stopped_in_stage_2_trains_all_stages(earlier: Path) -> None:
    folder = RunFolder(earlier / "stopped")
    assert observe(folder).state == "stopped"
    assert folder.checkpoint("heads").load() is not None
    finish(folder)
    np.testing.assert_array_equal(arrays(folder, "features")["clean"], vectors())
    assert observe(folder).stages["joint"].truth["acc"] == 1
    # As if it had been begun now.
    np.save(earlier / "vectors.npy", vectors())
    config = with_settings(folder.card().config, {"features.source": f"import:{earlier / 'vectors.npy'}"})
    new = finish(create_run(earlier / "new", Opened(IMAGES, truth=TRUTH), config))
    for artefact in ("neighbors", "heads", "joint"):
        one, other = arrays(folder, artefact), arrays(new, artefact)
        for name in other:
            np.testing.assert_array_equal(one[name], other[name], err_msg=f"{artefact} {name}")


@pytest.mark.parametrize("left_out", [0, 5])
def test_decisions_on_an_earlier_run_train_all_stages(earlier: Path, left_out: int) -> None:
    parent, keep = RunFolder(earlier / "finished"), np.arange(60) >= left_out
    branch = finish(branch_decided(parent, earlier / "branch", parent.card().config, guidance(keep, 3)))
    np.testing.assert_array_equal(arrays(branch, "features")["clean"], vectors()[keep])
    assert newest_stage(branch) == "joint"
    assert "skipped" not in summary(branch, observe(branch))


# -- runs that start from vectors --------------------------------------------------------------


def test_a_branch_judges_by_its_own_thresholds_and_trains_stage_3_from_there(imported: RunFolder) -> None:
    config = with_settings(imported.card().config, {"reliable.agreement": 0.99})
    branch = finish(branch_run(imported, imported.path.with_name("branch"), config))
    np.testing.assert_array_equal(arrays(branch, "features")["clean"], vectors())
    assert newest_stage(branch) == "joint"
    strict, usual = (load_reliable(one, "heads").mask for one in (branch, imported))
    assert not (strict & ~usual).any()
    assert (load_reliable(branch, "heads").thresholds >= 0.98).all()


def guidance(keep: np.ndarray, clusters: int) -> Guidance:
    nobody, kept = np.zeros(int(keep.sum()), bool), int(keep.sum())
    labels = TRUTH.labels[keep].astype(np.int64)
    taught = nobody.copy()
    taught[:6] = True
    fields: dict[str, Any] = {
        "clusters": clusters,
        "keep": keep,
        "labels": labels,
        "taught": taught,
        "held": nobody,
        "seen": taught,
        "doubted": nobody,
        "refused": nobody,
        "model": labels,
        "belief": np.full((kept, clusters), 1 / clusters, np.float32),
    }
    return Guidance(**{name: fields[name] for name in Guidance.__dataclass_fields__ if name in fields})


@pytest.mark.parametrize(("left_out", "clusters"), [(0, 3), (0, 4), (5, 3)])
def test_decisions_train_on_the_vectors_of_the_images_that_stay(
    imported: RunFolder, left_out: int, clusters: int
) -> None:
    keep = np.arange(60) >= left_out
    config = with_settings(imported.card().config, {"clusters": clusters})
    place = imported.path.with_name("decided")
    branch = branch_decided(imported, place, config, guidance(keep, clusters))
    shutil.rmtree(imported.path)
    finish(branch)
    np.testing.assert_array_equal(arrays(branch, "features")["clean"], vectors()[keep])
    assert load_reliable(branch, "heads").mask[:6].all()
    assert load_reliable(branch, "joint").mask[:6].all()
    scored = [r.event.stage for r in branch.records()[0] if isinstance(r.event, Scored)]
    assert scored == ["features", "heads", "joint"]


# -- networks of torchvision -------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of weights of a network that sees 64 pixels a side instead of 224."""
    monkeypatch.setattr(torchvision_networks, "_side", lambda _weights: 64)
    torch.manual_seed(0)
    torch.save(models.get_model(MODEL).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_network_of_torchvision_is_kept_or_tuned_and_trained_in_stage_3(
    make_run: MakeRun, weights: Path, tmp_path: Path, epochs: int
) -> None:
    choices = {
        "features.source": f"weights:{MODEL}:{weights}",
        "features.epochs": epochs,
        "features.objective": "moco",
        "features.norm_groups": 2,
        "features.batch": 30,
        "heads.epochs": 1,
        "joint.steps": 1,
        "joint.batch": 4,
        "joint.unlabelled": 1,
        "joint.average": 0.5,
    }
    folder = make_run(**choices)
    came = load_encoder(f"encoder:{folder.path / 'encoder.pt'}").state_dict()
    weights.unlink()
    finish(folder)
    kept, last = folder.weights("features"), folder.weights("joint")
    assert kept.keys() == came.keys()
    name = "backbone.conv1.0.weight"
    assert torch.equal(kept[name], came[name]) == (epochs == 0)
    assert not torch.equal(last[f"encoder.{name}"], kept[name])
    assert folder.load("features")["vectors"].shape == (60, 1024)
    # The trained network can be used and passed on without torchvision's file.
    found = predict_images(folder, IMAGES, CPU.device)
    np.testing.assert_allclose(found.probabilities, folder.load("joint")["probabilities"], rtol=1e-3, atol=1e-4)
    (tmp_path / "given.pt").write_bytes(encoder_file(folder))
    given = load_encoder(f"encoder:{tmp_path / 'given.pt'}").state_dict()
    torch.testing.assert_close(given[name], kept[name], rtol=1e-3, atol=1e-3)
    assert read_card(f"encoder:{tmp_path / 'given.pt'}")["torchvision"] == MODEL


def test_a_run_with_weights_that_do_not_fit_is_not_made(make_run: MakeRun, weights: Path, tmp_path: Path) -> None:
    for source, words in {
        f"weights:resnet18:{weights}": "weights.pt does not fit resnet18: it lacks",
        f"weights:{MODEL}:{weights}.safetensors": "there is no file",
        "torchvision:resnet5": "no image classifier 'resnet5'",
    }.items():
        with pytest.raises(SettingError, match=words):
            make_run(**{"features.source": source})
        with pytest.raises(SettingError, match=words):
            check_beginning(source, IMAGES)
    assert list(tmp_path.iterdir()) == [weights]


def test_a_trained_network_cannot_begin_stage_3_with_random_weights(make_run: MakeRun) -> None:
    with pytest.raises(SettingError, match=r"joint\.start is random, but stage 1 starts from a trained network"):
        make_run(**{"features.source": "torchvision:resnet18", "joint.start": "random"})


@pytest.mark.parametrize("source", ["resnet50", "Import:a.npy", ""])
def test_what_stage_1_begins_with_is_written_in_one_of_five_ways(make_run: MakeRun, source: str) -> None:
    with pytest.raises(SettingError, match="expected scratch, encoder:NAME, torchvision:NAME"):
        make_run(**{"features.source": source})
