"""The scripts of the browser components are complete."""

from __future__ import annotations

import json

import pytest

from engine.lesson.scripts import files
from spice_explorer.components.scripts import FOLDER, parts

NAMES = sorted(path.parent.name for path in FOLDER.glob("*/order.txt"))


def test_the_components_that_are_drawn_in_the_browser() -> None:
    assert NAMES == ["curator", "gallery", "lesson", "map", "plane", "viewer"]


@pytest.mark.parametrize("name", NAMES)
def test_a_component_names_all_its_files_once(name: str) -> None:
    named = [path.resolve() for path in files(FOLDER / name / "order.txt")]
    assert len(named) == len(set(named))
    own = {path for kind in ("html", "css", "js") for path in (FOLDER / name).glob(f"*.{kind}")}
    assert {path for path in named if path.parent == FOLDER / name} == own


@pytest.mark.parametrize("name", NAMES)
def test_the_last_script_of_a_component_is_its_door(name: str) -> None:
    made = parts(name)
    assert all(made.values())
    assert made["js"].count("\nexport ") == 1
    assert made["js"].endswith((FOLDER / name / "component.js").read_text("utf-8"))


def test_the_scripts_of_every_component_are_checked() -> None:
    config = json.loads((FOLDER.parents[1] / "tsconfig.json").read_text("utf-8"))
    *components, report = [one["path"] for one in config["references"]]
    assert [one.split("/")[-1] for one in components] == NAMES
    assert report == "engine/report"  # whose script is no component
