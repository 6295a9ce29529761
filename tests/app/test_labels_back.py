"""The Export page's part for labels that come back: compared, decided, and undone as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.decisions import Decision
from engine.curate.provenance import Provenance
from engine.exports.edited import READERS
from engine.runs.folder import RunFolder
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, exports
from tests.app.conftest import IMAGES, Visit, button, demo, texts

EDITED = 50


@pytest.fixture(autouse=True)
def _run(finished: RunFolder) -> None:
    """The run that the pages show."""


def edited(place: Path, changed: int = EDITED) -> np.ndarray:
    """A table of the run's labels in which the class of the first images is the next one; the classes (N,) in it."""
    table = exports.label_table(demo())
    own = decisions.classes_of(demo()).astype(np.int64)
    own[:changed] = (own[:changed] + 1) % 4
    pd.DataFrame({"id": table["id"], "label": own}).to_csv(place, index=False)
    return own


def compared(visit: Visit, file: Path) -> AppTest:
    at = visit("export", run="demo")
    at.text_input(key="back name").set_value("Ann").run()
    return at.text_input(key="back place").set_value(str(file)).run()


def numbers(at: AppTest) -> dict[str, str]:
    titles = present.compared(exports.Preview(0, np.zeros(0), np.zeros(0), np.zeros(0, bool), 0, ()))
    return {one.label: one.value for one in at.metric if one.label in titles}


def test_edited_labels_are_compared_decided_and_undone_as_one(visit: Visit, tmp_path: Path) -> None:
    before, expected = decisions.classes_of(demo()), edited(tmp_path / "t.csv")
    at = compared(visit, tmp_path / "t.csv")
    assert numbers(at) == {
        "Labels in the file": f"{IMAGES}",
        "Would change": f"{EDITED}",
        "Same as here": f"{IMAGES - EDITED}",
        "Conflicts": "0",
    }
    assert np.array_equal(decisions.classes_of(demo()), before), "nothing is decided yet"
    button(at, f"Decide so for {EDITED} images").click().run()
    assert at.success[0].value == f"{EDITED} images are decided so."
    assert np.array_equal(decisions.classes_of(demo()), expected)
    provenance = decisions.curation(demo()).provenance
    assert (provenance == Provenance.BULK).sum() == EDITED, "nobody said that they looked"
    assert numbers(at)["Would change"] == "0"
    button(at, "Undo the last import of Ann").click().run()
    assert at.success[0].value == f"{EDITED} images are as before the import."
    assert np.array_equal(decisions.classes_of(demo()), before)
    assert not decisions.curation(demo()).state.any()
    assert "Undo the last import" not in texts(at)


def test_answers_of_people_who_looked_are_seen(visit: Visit, tmp_path: Path) -> None:
    edited(tmp_path / "t.csv", changed=3)
    at = compared(visit, tmp_path / "t.csv")
    at.checkbox(key="back looked").check().run()
    button(at, "Decide so for 3 images").click().run()
    assert (decisions.curation(demo()).provenance == Provenance.SEEN).sum() == 3


def test_what_was_decided_here_since_is_a_conflict_and_stays(visit: Visit, tmp_path: Path) -> None:
    expected = edited(tmp_path / "t.csv", changed=2)
    other = int((expected[0] + 1) % 4)
    decisions.commit(demo(), [Decision("relabel", "Bob", images=np.array([0]), class_=other)])
    at = compared(visit, tmp_path / "t.csv")
    assert (numbers(at)["Would change"], numbers(at)["Conflicts"]) == ("1", "1")
    assert "1 image was decided here after these labels had left" in at.warning[0].value
    button(at, "Decide so for 1 image").click().run()
    assert decisions.classes_of(demo())[:2].tolist() == [other, expected[1]]
    at.checkbox(key="back conflicts").check().run()
    button(at, "Decide so for 1 image").click().run()
    assert decisions.classes_of(demo())[:2].tolist() == expected[:2].tolist()


def test_a_file_that_is_not_there_or_of_other_classes_is_a_sentence(visit: Visit, tmp_path: Path) -> None:
    at = compared(visit, tmp_path / "none.csv")
    assert "check the path" in at.error[0].value
    (tmp_path / "odd.csv").write_text(f"id,label\n{exports.label_table(demo())['id'][0]},zebra\n")
    at.text_input(key="back place").set_value(str(tmp_path / "odd.csv")).run()
    assert "has no class 'zebra'" in at.error[0].value.replace("\\", "")
    assert not decisions.curation(demo()).state.any()


def test_the_page_offers_every_format_that_can_come_back() -> None:
    assert list(present.RETURNS) == list(READERS)
