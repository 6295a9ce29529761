"""Runs of the first version: two folders written by its code, and its results for them.

60 drawn images, K = 3: one run is finished and has five decisions (among them an image accepted twice, and
an undo), one was stopped in stage 1.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from engine.curate.curation import State
from engine.exports.label_table import export_table, to_csv
from engine.jobs import Control
from engine.runs.create import branch_run
from engine.runs.folder import RunFolder
from engine.runs.history import load_history
from engine.runs.predict import predict_images
from engine.runs.results import decision_log, observe, summary
from engine.runs.runner import Device, execute
from tests.tiny_runs import FIRST_VERSION, unpacked

CPU = torch.device("cpu")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return unpacked(FIRST_VERSION, tmp_path)


def test_its_scores_and_labels_are_what_it_said(kept: Path) -> None:
    folder = RunFolder(kept / "finished")
    assert summary(folder, observe(folder)) == json.loads((kept / "summary.json").read_text())
    table, then = export_table(folder, observe(folder)), pd.read_csv(kept / "labels.csv", keep_default_na=False)
    assert set(table.columns) - set(then.columns) == {"provenance"}
    same = [one for one in then.columns if one != "reliable"]
    back = pd.read_csv(io.BytesIO(to_csv(table)), keep_default_na=False)
    pd.testing.assert_frame_equal(back[same], then[same])
    moved = table["class"] != table["label"]
    assert back["reliable"].tolist() == (then["reliable"] & ~moved).tolist(), "it was said of the model's label"
    assert table["provenance"][:6].tolist() == ["bulk"] * 4 + ["model"] * 2, "it did not record who looked at what"


def test_its_decisions_stand_and_can_be_undone(kept: Path) -> None:
    log = decision_log(RunFolder(kept / "finished"))
    assert [one.action for one in log.decisions()] == ["accept", "relabel", "exclude", "accept", "undo"]
    curation = log.curation
    assert np.flatnonzero(curation.state == State.DECIDED).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(curation.state == State.EXCLUDED).tolist() == [4]
    log.close()


def test_its_model_labels_images_as_it_did(kept: Path) -> None:
    folder = RunFolder(kept / "finished")
    found = predict_images(folder, folder.images(), CPU)
    assert np.allclose(found.probabilities, folder.load("joint")["probabilities"], atol=1e-5)
    assert load_history(folder).steps == (*range(4), *range(7))  # rounds of stage 2, steps of stage 3


def test_a_run_goes_on_from_it(kept: Path) -> None:
    parent = RunFolder(kept / "finished")
    branch = branch_run(parent, kept / "branch", parent.card().config)
    with branch.lock():
        assert execute(branch, Device(CPU), Control()) == "finished"
    for name in ("features", "heads"):
        own, inherited = branch.load(name), parent.load(name)
        assert all(np.array_equal(own[array], inherited[array]) for array in inherited)
    # Stage 3 draws other random numbers now, and norms keep their weights: alike, and not the same.
    now, before = (folder.load("joint")["probabilities"] for folder in (branch, parent))
    assert now.shape == before.shape
    assert np.abs(now - before).mean() < 0.1


def test_a_run_that_was_stopped_is_resumed(kept: Path) -> None:
    folder = RunFolder(kept / "stopped")
    assert observe(folder).state == "stopped"
    checkpoint = folder.checkpoint("features").load()
    assert checkpoint is not None
    assert 0 < checkpoint["step"] < observe(folder).stages["features"].steps
    with folder.lock():
        assert execute(folder, Device(CPU), Control()) == "finished"
    assert observe(folder).stages["features"].step == observe(folder).stages["features"].steps
