"""python -m engine health, and its effect on run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.runs.folder import RunFolder
from tests.test_command_line import do, refused, run_arguments


@pytest.fixture
def spoilt(photos: Path) -> Path:
    """The drawn photographs, one of them twice, and a black, a blank, an odd and a broken one."""
    (photos / "bars" / "copy.png").write_bytes((photos / "bars" / "01.png").read_bytes())
    night = np.random.default_rng(0).integers(0, 40, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(night).save(photos / "night.png")
    Image.new("RGB", (12, 12), "white").save(photos / "white.png")
    with Image.open(photos / "spots" / "00.png") as one:
        one.resize((60, 12)).save(photos / "wide.png")
    (photos / "broken.png").write_bytes(b"nothing")
    return photos


def health(folder: Path, *more: str) -> dict:  # type: ignore[type-arg]
    done = do("health", str(folder), "--size", "12", "--json", *more)
    assert done.code == 0, done.err
    return done.summary


def test_every_defect_is_named(spoilt: Path) -> None:
    found = health(spoilt)
    assert (found["images"], found["unreadable"], found["left_out"]) == (44, 1, 0)
    findings = found["findings"]
    exact = findings["exact-duplicates"]
    assert (exact["images"], exact["groups"]) == (2, 1)
    assert exact["worst"] == [["bars/01.png", "bars/copy.png"]]
    assert findings["dark"]["worst"] == ["night.png"]
    assert findings["blank"]["worst"] == ["white.png"]
    assert findings["odd-aspect"]["worst"] == ["wide.png"]


def test_it_can_be_read_by_people(spoilt: Path) -> None:
    done = do("health", str(spoilt), "--size", "12")
    assert done.out[0] == "44 images, 1 unreadable"
    assert "exact-duplicates        2 in 1 group" in done.out
    assert "    bars/01.png · bars/copy.png" in done.out
    assert "bright               none" in done.out
    assert "skipped broken.png: not an image" in done.err


def test_sides_that_nobody_knows_are_said_to_be_unknown() -> None:
    done = do("health", "digits")
    assert "odd-aspect           none, since nothing is known of the originals' sides" in done.out


def test_what_is_excluded_is_remembered_and_undone_step_by_step(spoilt: Path) -> None:
    assert health(spoilt, "--exclude", "exact-duplicates,dark")["left_out"] == 2
    assert health(spoilt)["left_out"] == 2
    assert health(spoilt, "--exclude", "dark")["left_out"] == 2
    assert health(spoilt, "--undo")["left_out"] == 1
    assert health(spoilt, "--undo")["left_out"] == 0
    done = do("health", str(spoilt), "--size", "12", "--undo")
    assert done.code == 1
    assert "nothing to undo" in done.errors[0]


def test_a_finding_that_there_is_not_is_refused(photos: Path) -> None:
    said = refused("health", str(photos), "--exclude", "dark,ugly")
    assert said.startswith("there is no finding 'ugly': expected some of exact-duplicates, ")


def test_a_run_leaves_out_what_was_excluded_and_keeps_to_it(spoilt: Path, tmp_path: Path) -> None:
    health(spoilt, "--exclude", "exact-duplicates,dark")
    run = run_arguments(spoilt, tmp_path / "run", "--size", "12")
    done = do(*run)
    assert done.code == 0, done.err
    assert done.summary["images"] == 42
    assert "2 of 44 images of this source are excluded" in done.err
    card = RunFolder(tmp_path / "run").card()
    assert [(one.name, one.reason) for one in card.excluded] == [
        ("bars/copy.png", "exact duplicate"),
        ("night.png", "dark"),
    ]
    assert not {"bars/copy.png", "night.png"} & set(RunFolder(tmp_path / "run").images().ids)
    health(spoilt, "--undo")  # later exclusions only affect later runs
    assert do(*run, "--resume").code == 0


def test_all_images_can_be_asked_for(spoilt: Path, tmp_path: Path) -> None:
    health(spoilt, "--exclude", "dark")
    done = do(*run_arguments(spoilt, tmp_path / "run", "--size", "12", "--all-images"))
    assert done.summary["images"] == 44
    assert RunFolder(tmp_path / "run").card().excluded == ()


def test_a_run_of_one_image_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "equal"
    folder.mkdir()
    for index in range(3):
        Image.linear_gradient("L").resize((12, 12)).save(folder / f"{index}.png")
    health(folder, "--exclude", "exact-duplicates")
    said = refused(*run_arguments(folder, tmp_path / "run", "--size", "12"))
    assert said.startswith("1 of the 3 images is kept, the others are excluded")
    assert not (tmp_path / "run").exists()
