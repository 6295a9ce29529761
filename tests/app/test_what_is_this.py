"""The drop box “What is this?”: an image gets a class and its nearest images, anything else a sentence."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.decisions import Decision
from engine.data.thumbnails import as_image
from engine.errors import SourceError
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.predict import predict_images
from spice_explorer.queries import decisions, models
from tests.app.conftest import Visit, demo, galleries, texts
from tests.models.conftest import CPU


def png(pixels: np.ndarray) -> bytes:
    """The image (C, H, W) as a file."""
    file = io.BytesIO()
    as_image(pixels).save(file, "png")
    return file.getvalue()


def dropped(at: AppTest, name: str, content: bytes) -> AppTest:
    at.get("file_uploader")[0].upload(name, content).run()
    assert not at.exception
    return at


@pytest.mark.parametrize("stages", [3, 2])
def test_an_image_of_the_run_gets_its_own_label_and_is_nearest_to_itself(
    finished: RunFolder, visit: Visit, stages: int
) -> None:
    if stages == 2:
        for artefact in ("joint", "reliable-joint"):
            shutil.rmtree(finished.path / artefact)
    said = predict_images(demo(), demo().images(), CPU)
    chosen = int(said.confidence.argmax())
    at = dropped(visit("export", run="demo"), "mine.png", png(finished.images().pixels[chosen]))
    words = texts(at)
    assert f"Cluster {said.labels[chosen]}" in words
    assert f"confidence {said.confidence[chosen]:.3f}" in words
    shown = galleries(at)
    assert shown[-1]["ids"][0] == chosen
    assert len(shown[-1]["ids"]) == models.NEAREST
    assert "cosine 1.000" in shown[-1]["titles"][0]


def test_an_image_beyond_a_threshold_is_called_unknown(
    finished: RunFolder, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = png(finished.images().pixels[0])
    own = models.model(demo())
    strict = replace(own.about.thresholds, distance=-1.0)
    monkeypatch.setattr(models, "model", lambda _run: replace(own, about=replace(own.about, thresholds=strict)))
    answer = models.answer(demo(), content)
    assert answer.unknown
    assert answer.why_unknown == f"The distance from the run's images, {answer.distance:.3f}, is above -1.000."
    words = texts(dropped(visit("export", run="demo"), "other.png", content))
    assert f"Unknown; most like {answer.name}" in words
    assert answer.why_unknown in words


def test_what_a_person_left_out_is_not_among_the_nearest(finished: RunFolder, visit: Visit) -> None:
    content = png(finished.images().pixels[5])
    before = models.answer(demo(), content).nearest.tolist()
    assert before[0] == 5
    decisions.commit(demo(), [Decision("exclude", "Ann", images=np.array([5, before[3]]))])
    after = models.answer(demo(), content)
    assert after.nearest.tolist()[:10] == [one for one in before if one not in (5, before[3])]
    assert len(after.nearest) == models.NEAREST
    assert after.cosines[0] < 1
    assert galleries(dropped(visit("export", run="demo"), "mine.png", content))[-1]["ids"] == after.nearest.tolist()


@pytest.mark.parametrize(
    ("content", "reason"), [(b"Dear Sir", "not an image"), (b"", "the file is empty"), (b"\x89PNG\r\n\x1a\n", "PNG")]
)
def test_a_file_that_is_no_image_gets_a_sentence(
    finished: RunFolder, visit: Visit, content: bytes, reason: str
) -> None:
    with pytest.raises(SourceError, match=reason):
        models.answer(RunFolder(finished.path), content)
    at = dropped(visit("export", run="demo"), "letter.txt", content)
    assert [one.value for one in at.error if "cannot be read" in one.value and reason in one.value]


def test_a_run_on_external_vectors_says_why_it_cannot_tell(finished: RunFolder, visit: Visit) -> None:
    (finished.path / IMPORTED).mkdir()
    at = visit("export", run="demo")
    assert "has no network" in texts(at)
    assert not at.get("file_uploader")


def test_a_new_name_is_used_at_once(finished: RunFolder, visit: Visit) -> None:
    content = png(finished.images().pixels[0])
    before = models.answer(demo(), content)
    number = int(before.name.removeprefix("Cluster "))
    decisions.commit(demo(), [Decision("rename", "ann", class_=number, text="zeros")])
    assert models.answer(demo(), content).name == "zeros"
    assert "zeros" in texts(dropped(visit("export", run="demo"), "a.png", content))
