"""The run's model on the Export page, from the button to a file that predicts."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.decisions import Decision
from engine.errors import Stopped
from engine.jobs import Job
from engine.models import of_run
from engine.models.model_file import write_model
from engine.models.open_model import open_model
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.predict import predict_images
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, exports, models
from tests.app.conftest import Visit, button, demo, texts, until
from tests.models.conftest import CPU


@pytest.fixture(autouse=True)
def _no_earlier_model(finished: RunFolder) -> None:
    """Every test has the run of the same name at a place of its own."""
    models.making.dismiss(finished)


def ended(at: AppTest) -> bool:
    return "dismiss model" in [one.key for one in at.button]


@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_the_model_is_written_and_labels_images_as_the_run_does(
    form: str, finished: RunFolder, visit: Visit, tmp_path: Path
) -> None:
    decisions.commit(demo(), [Decision("rename", "Ann", class_=1, text="ones")])
    at = visit("export", run="demo")
    if form == "onnx":
        at.get("button_group")[-1].set_value("onnx").run()
    out = tmp_path / "exports" / f"demo.{form}"
    assert at.text_input(key=f"model place {form}").value == str(out)
    button(at, "Write the model").click().run()
    until(at, ended)
    (told,) = [one.value for one in at.success]
    assert told.startswith("The model of stage 3, 4 classes, ")
    assert ("from torch" in told) is (form == "onnx")
    assert f"{out}\n{out}.md" in [one.value for one in at.code]
    model = open_model(out, CPU)
    assert model.about.classes[1] == "ones"
    expected = predict_images(finished, finished.images(), CPU).probabilities
    np.testing.assert_allclose(model.network(np.array(finished.images().pixels))[0], expected, rtol=1e-4, atol=1e-4)
    with zipfile.ZipFile(io.BytesIO(exports.download(out, out.with_name(f"{out.name}.md")))) as archive:
        assert archive.namelist() == [out.name, f"{out.name}.md"]
        assert archive.read(out.name) == out.read_bytes()


def test_an_earlier_model_is_replaced_only_if_that_is_ticked(visit: Visit, tmp_path: Path) -> None:
    kept = tmp_path / "mine.safetensors"
    kept.write_text("kept")
    at = visit("export", run="demo")
    at.text_input(key="model place safetensors").set_value(str(kept)).run()
    button(at, "Write the model").click().run()
    until(at, ended)
    assert "exists\\: choose another name, or replace it" in at.error[0].value
    assert kept.read_text() == "kept"
    at.checkbox(key="model overwrite").check().run()
    button(at, "Write the model").click().run()
    until(at, lambda at: bool(at.success))
    assert open_model(kept, CPU).about.run == "demo"


def test_without_the_package_onnx_is_not_offered_but_how_to_install_it(
    finished: RunFolder, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = importlib.util.find_spec

    def find(name: str, *more: Any) -> object:
        return None if name == "onnx" else there(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    at = visit("export", run=finished.name)
    assert at.get("button_group")[-1].proto.options[-1].content == "safetensors"
    words = texts(at).replace("\\", "")
    assert "ONNX needs the package onnx, which is not installed: pip install 'spice-explorer[onnx]'" in words
    assert "safetensors needs nothing more." in words


def test_a_run_on_external_vectors_has_no_model_and_says_so(finished: RunFolder, visit: Visit) -> None:
    (finished.path / IMPORTED).mkdir()
    at = visit("export", run="demo")
    assert "has no network, so there is no model that could label new images." in texts(at)
    assert "Write the model" not in [one.label for one in at.button]


def test_while_it_is_written_it_can_be_cancelled(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(models.making, "job", lambda _run: Job("calibrating", 256, 1024))
    monkeypatch.setattr(models.making, "cancel", lambda run: told.append(run.name))
    at = visit("export", run="demo")
    assert "Write the model" not in [one.label for one in at.button]
    button(at, "Cancel").click().run()
    assert told == ["demo"]
    monkeypatch.setattr(models.making, "job", lambda _run: Job("cancelled"))
    at.run()
    assert "The model was cancelled and left nothing behind." in [one.value for one in at.info]


def test_progress_in_words() -> None:
    assert present.model_progress(Job("calibrating", 256, 1024)) == (
        0.25,
        "Calibrating on the run's own images: 256 of 1,024",
    )
    assert present.model_progress(Job("writing")) == (0.0, "Writing the file…")


def test_a_model_that_is_stopped_midway_leaves_nothing(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_run, "PIECE", 100)
    told: list[tuple[str, int, int]] = []
    with pytest.raises(Stopped):
        write_model(
            finished,
            "safetensors",
            tmp_path / "m.safetensors",
            progress=lambda *steps: told.append(steps),
            stop=lambda: len(told) > 1,
        )
    assert told == [("calibrating", 0, 240), ("calibrating", 100, 240)]
    assert not list(tmp_path.glob("m.*"))
    assert not finished.has(of_run.ARTEFACT)


def test_while_the_run_trains_the_model_says_of_which_stage_it_is(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.models.model_file._live", lambda _folder: True)
    done = write_model(finished, "safetensors", tmp_path / "m.safetensors")
    assert done.notes == ("the run is still training: this is the model of stage 3",)


def test_a_card_that_cannot_be_written_takes_the_new_model_with_it(finished: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "m.safetensors.md").mkdir()
    with pytest.raises(Exception, match="cannot be written"):
        write_model(finished, "safetensors", tmp_path / "m.safetensors", overwrite=True)
    assert not (tmp_path / "m.safetensors").exists()
