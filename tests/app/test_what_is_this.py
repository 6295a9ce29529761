"""The drop box “What is this?”: an image gets a class and its nearest images, anything else a sentence."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from engine.data.thumbnails import as_image
from engine.errors import SourceError
from engine.runs.folder import IMPORTED, RunFolder
from engine.runs.predict import predict_images
from spice_explorer.queries import models
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


def test_what_no_digit_is_is_called_unknown(finished: RunFolder, visit: Visit) -> None:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), (250, 250, 250)).save(file, "jpeg")
    answer = models.answer(demo(), file.getvalue())
    assert answer.unknown
    assert answer.distance > answer.farthest
    words = texts(dropped(visit("export", run="demo"), "white.jpg", file.getvalue()))
    assert f"Unknown; most like {answer.name}" in words
    assert answer.why_unknown in words


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


def test_a_new_name_is_used_at_once(finished: RunFolder, visit: Visit, tmp_path: Path) -> None:
    from engine.curate.decisions import Decision
    from spice_explorer.queries import decisions

    content = png(finished.images().pixels[0])
    before = models.answer(demo(), content)
    number = int(before.name.removeprefix("Cluster "))
    decisions.commit(demo(), [Decision("rename", "ann", class_=number, text="zeros")])
    assert models.answer(demo(), content).name == "zeros"
    assert "zeros" in texts(dropped(visit("export", run="demo"), "a.png", content))
