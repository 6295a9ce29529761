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
from engine.events import Scored, StageSkipped
from engine.exports.label_table import export_table
from engine.jobs import Control
from engine.runs.create import branch_decided, branch_run
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.initial_weights import check_beginning
from engine.runs.pipeline import NO_NETWORK
from engine.runs.predict import encoder_file, predict_images
from engine.runs.results import load_reliable, newest_stage, observe, summary
from engine.runs.runner import choose_device, execute
from engine.stages.encoder_file import load_encoder, read_card
from tests.runs.test_pipeline import StopAfter
from tests.tiny_runs import MakeRun, drawn

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


def arrays(folder: RunFolder, artefact: str) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in folder.load(artefact).items()}


@pytest.fixture
def imported(make_run: MakeRun, file: Path) -> RunFolder:
    choices = {"features.source": f"import:{file}", "heads.epochs": 20, "heads.passes": 8}
    return finish(make_run("imported", **choices))


# -- vectors -----------------------------------------------------------------------------------


def test_vectors_are_the_features_and_are_clustered_without_a_network(imported: RunFolder) -> None:
    features = arrays(imported, "features")
    np.testing.assert_array_equal(features["vectors"], vectors())
    assert not (imported.path / "features/weights.pt").exists()
    now = observe(imported)
    assert now.stages["features"].truth["acc"] == 1
    assert now.stages["heads"].truth["acc"] == 1
    assert now.stages["features"].steps == 0
    assert [step for stage, step in frame_steps_of(imported) if stage == "features"] == [0]
    assert newest_stage(imported) == "heads"
    assert set(export_table(imported, now).stage) == {"heads"}


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_size_of_the_numbers_does_not_matter(
    make_run: MakeRun, imported: RunFolder, file: Path, scale: float
) -> None:
    np.save(file, vectors() * scale)
    choices = {"features.source": f"import:{file}", "heads.epochs": 20, "heads.passes": 8}
    other = finish(make_run("other", **choices))
    np.testing.assert_allclose(other.load("heads")["probabilities"], imported.load("heads")["probabilities"], atol=0.02)


def test_stage_3_is_skipped_with_the_reason(imported: RunFolder) -> None:
    said = [record.event for record in imported.records()[0]]
    assert StageSkipped("joint", NO_NETWORK) in said
    assert observe(imported).stages["joint"].skipped == NO_NETWORK
    found = summary(imported, observe(imported))
    assert found["state"] == "finished"
    assert found["skipped"] == {"stage3": NO_NETWORK}
    assert found["seconds"]["stage3"] is None
    assert not imported.has("joint")


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
    for artefact in ("features", "heads", "reliable-heads"):
        one, other = arrays(whole, artefact), arrays(broken, artefact)
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])
    shutil.rmtree(broken.path / "features")  # as the message for damaged files advises
    finish(broken)
    np.testing.assert_array_equal(arrays(broken, "features")["vectors"], vectors())


def test_vectors_are_kept_once_on_the_disk(imported: RunFolder) -> None:
    one, other = (imported.path / part / "vectors.npy" for part in (IMPORTED, "features"))
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
    np.testing.assert_array_equal(arrays(folder, "features")["vectors"], vectors())


def test_what_needs_a_network_says_that_there_is_none(imported: RunFolder) -> None:
    for asked in (lambda: predict_images(imported, IMAGES, CPU.device), lambda: encoder_file(imported)):
        with pytest.raises(RunError, match=r"took its features from import:.*, and has no network"):
            asked()


# -- runs that start from vectors --------------------------------------------------------------


def test_a_branch_judges_by_its_own_thresholds_and_skips_stage_3_too(imported: RunFolder) -> None:
    config = with_settings(imported.card().config, {"reliable.agreement": 0.99})
    branch = finish(branch_run(imported, imported.path.with_name("branch"), config))
    np.testing.assert_array_equal(arrays(branch, "features")["vectors"], vectors())
    assert observe(branch).stages["joint"].skipped == NO_NETWORK
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
    np.testing.assert_array_equal(arrays(branch, "features")["vectors"], vectors()[keep])
    assert load_reliable(branch, "heads").mask[:6].all()
    assert observe(branch).stages["joint"].skipped == NO_NETWORK
    scored = [r.event.stage for r in branch.records()[0] if isinstance(r.event, Scored)]
    assert scored == ["features", "heads"]


# -- networks of torchvision -------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path: Path) -> Path:
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
