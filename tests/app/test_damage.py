"""Pages of damaged runs: what is whole is shown, what is damaged is said, and nobody is told to delete anything."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.columns import ImageColumn
from engine.runs.folder import RunFolder
from engine.runs.history import frame_steps_of
from engine.runs.results import observe
from tests.app.conftest import IMAGES, Visit, button, texts, until


def flip(run: RunFolder, name: str) -> None:
    """Flips a bit in a file of a run, in place."""
    file = run.path / name
    content = bytearray(file.read_bytes())
    content[-3] ^= 4
    with file.open("r+b") as opened:
        opened.write(content)


@pytest.mark.parametrize(("name", "part"), [("images/pixels.npy", "images"), ("truth/labels.npy", "truth")])
@pytest.mark.parametrize("page", ["map", "prototypes", "export"])
def test_what_cannot_be_made_again_is_said_and_the_page_is_there(
    page: str, name: str, part: str, finished: RunFolder, visit: Visit
) -> None:
    flip(finished, name)
    at = visit(page, run="demo")
    assert not at.error
    (told,) = [one.value for one in at.warning if "cannot be made again here" in one.value]
    assert f"demo/{part}" in told.replace("\\", "")
    assert "put back a copy of it" in told
    assert (finished.path / name).exists()


def test_columns_that_are_damaged_are_left_out_of_the_map(finished: RunFolder, visit: Visit) -> None:
    finished.save_columns([ImageColumn("age", np.arange(IMAGES, dtype=np.float32))])
    flip(finished, "columns/values-0.npy")
    at = visit("map", run="demo")
    assert not at.error
    assert "columns/values-0.npy is damaged" in texts(at).replace("\\", "")


def test_damaged_frames_leave_the_rest_of_the_history(finished: RunFolder, visit: Visit) -> None:
    taken = frame_steps_of(finished)
    flip(finished, f"frames/{taken[-1][0]}-{taken[-1][1]:07d}/labels.npy")
    at = visit("prototypes", run="demo", image="3")
    assert not at.error
    assert "Its label during training" in texts(at)
    assert len(frame_steps_of(finished)) == len(taken) - 1


def test_a_finished_run_with_damaged_features_is_resumed_and_whole_again(finished: RunFolder, visit: Visit) -> None:
    before = np.array(finished.load("features")["vectors"])
    flip(finished, "features/vectors.npy")
    at = visit("train", run="demo")
    (told,) = [one.value for one in at.warning if "resume the run" in one.value]
    assert "features/vectors.npy is damaged" in told.replace("\\", "")
    button(at, "Resume").click().run()
    until(at, lambda at: "Features is damaged" in texts(at) and observe(finished).state == "finished")
    at.run()
    np.testing.assert_array_equal(finished.load("features")["vectors"], before)
    assert not [one for one in at.button if one.label == "Resume"]


def test_features_that_were_exchanged_are_said_on_every_page(finished: RunFolder, visit: Visit) -> None:
    arrays = {name: np.array(values) for name, values in finished.load("features").items()}
    arrays["vectors"] = arrays["vectors"][::-1]
    finished.save("features", arrays, finished.path / "features" / "weights.pt", of=("images",))
    told = [one.value for one in visit("reliability", run="demo").warning]
    assert any("heads: it was made of other features" in one.replace("\\", "").lower() for one in told)


def test_lines_of_events_that_are_damaged_are_counted(finished: RunFolder, visit: Visit) -> None:
    file = finished.path / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join([*lines[:3], b"rubbish\n", *lines[4:]]))
    at = visit("train", run="demo")
    assert not at.error
    assert "A line of this run" in texts(at)
