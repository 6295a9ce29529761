"""The Export page's part for other tools, from the form to the folder."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torchvision.datasets import ImageFolder

from engine.curate.decisions import Decision
from engine.curate.provenance import Provenance
from engine.jobs import Job
from engine.runs.folder import RunFolder
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, exports
from tests.app.conftest import IMAGES, Visit, button, demo, texts, until


@pytest.fixture(autouse=True)
def _no_earlier_export(finished: RunFolder) -> None:
    """Every test has the run of the same name at a place of its own."""
    exports.making.dismiss(finished)


def test_class_folders_are_exported_in_the_background(visit: Visit, tmp_path: Path) -> None:
    ask = Decision("exclude", "Ann", images=np.array([0, 1]))
    seen = Decision("relabel", "Ann", images=np.array([2]), class_=1, provenance=Provenance.SEEN)
    decisions.commit(demo(), [Decision("rename", "Ann", class_=1, text="ones/one"), ask, seen])
    at = visit("export", run="demo")
    assert "A folder for each class with its images" in texts(at)
    at.selectbox(key="tool split").set_value("80,20").run()
    button(at, "Export").click().run()
    until(at, lambda at: bool(at.success))
    out = tmp_path / "exports" / "demo-folders"
    assert f"{IMAGES - 2} labels" in at.success[0].value
    assert f"given by\\: 1 seen, {IMAGES - 3} model. Without 2 excluded images." in at.success[0].value
    assert at.code[0].value == str(out)
    parts = {part: ImageFolder(str(out / part)) for part in ("train", "test")}
    assert sum(map(len, parts.values())) == IMAGES - 2
    assert {"ones_one"} < {name for part in parts.values() for name in part.classes}
    table = pd.read_csv(out / "labels.csv")
    assert table["provenance"].tolist().count("seen") == 1
    with zipfile.ZipFile(io.BytesIO(exports.download(out))) as archive:
        assert {name for name in archive.namelist() if name.endswith(".png")} == {
            f"demo-folders/{one}" for one in table["exported_as"]
        }
    button(at, "Dismiss").click().run()
    assert not at.success


def test_an_export_that_is_there_is_replaced_only_if_that_is_ticked(visit: Visit, tmp_path: Path) -> None:
    at = visit("export", run="demo")
    at.selectbox(key="tool format").set_value("csv").run()
    at.text_input(key="tool place csv").set_value(str(tmp_path / "mine.csv")).run()
    (tmp_path / "mine.csv").write_text("kept")
    button(at, "Export").click().run()
    until(at, lambda at: bool(at.error))
    assert "exists\\: choose another name, or replace it" in at.error[0].value
    assert (tmp_path / "mine.csv").read_text() == "kept"
    at.checkbox(key="tool overwrite").check().run()
    button(at, "Export").click().run()
    until(at, lambda at: bool(at.success))
    assert len(pd.read_csv(tmp_path / "mine.csv")) == IMAGES


def test_a_scope_without_images_is_said(visit: Visit) -> None:
    decisions.commit(demo(), [Decision("new class", "Ann", text="empty")])
    at = visit("export", run="demo")
    at.selectbox(key="tool scope").set_value("class:empty").run()
    button(at, "Export").click().run()
    until(at, lambda at: bool(at.error))
    assert "No image of demo is in the scope “class\\:empty”" in at.error[0].value


def test_an_export_under_way_can_be_cancelled(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[RunFolder] = []
    monkeypatch.setattr(exports.making, "job", lambda _run: Job("writing", 10, 40))
    monkeypatch.setattr(exports.making, "cancel", told.append)
    at = visit("export", run="demo")
    assert [one.label for one in at.button if one.label in ("Export", "Cancel")] == ["Cancel"]
    button(at, "Cancel").click().run()
    assert [run.name for run in told] == ["demo"]
    monkeypatch.setattr(exports.making, "job", lambda _run: Job("cancelled"))
    at.run()
    assert at.info[0].value == "The export was cancelled and left nothing behind."


def test_only_what_can_be_exported_is_offered() -> None:
    assert list(present.scopes(["a", "b"], 0, False)) == ["all", "reliable", "class:a", "class:b"]
    assert list(present.scopes([], 3, True)) == ["all", "reliable", "decided", "selection"]
    assert present.scopes([], 1234, False)["selection"] == "Selected images (1,234)"


def test_progress_in_words() -> None:
    assert present.export_progress(Job("writing", 10, 40)) == (0.25, "10 of 40 images")
    assert present.export_progress(Job("writing")) == (0.0, "Reading the labels…")
    assert present.export_progress(Job("comparing", 1, 2))[1].endswith("50\N{NO-BREAK SPACE}%")
