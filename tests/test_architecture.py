"""ARCHITECTURE.md describes the tree as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
TREE = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)[0]


def told() -> set[str]:
    """The paths in the tree: names at the start of a line, in the folder with less indentation."""
    found, folder = set(), ""
    for line in TREE.splitlines():
        names = re.match(r"((?:[\w.]+(?:\.py|/) ?)+)", line.strip())
        assert names is not None, line
        if not line.startswith(" "):
            folder = ""
        for name in names[1].split():
            found.add(folder + name)
        if not line.startswith(" "):
            folder = names[1].strip()
    return found


def test_every_path_of_the_tree_is_there() -> None:
    assert [path for path in told() if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("house", ["engine", "spice_explorer"])
def test_everything_in_a_house_is_in_the_tree(house: str) -> None:
    there = {
        f"{house}/{path.name}/" if path.is_dir() else f"{house}/{path.name}"
        for path in (ROOT / house).iterdir()
        if not path.name.startswith((".", "__init__", "__pycache__")) and path.suffix in ("", ".py")
    }
    assert there - told() == set()


def test_every_file_that_is_named_is_there() -> None:
    """`stages/joint.py` is short for engine/stages/joint.py, or for the app's."""
    below = TEXT[TEXT.index("## Rooms") :]
    names = set(re.findall(r"`([\w/.]+/[\w/.]*)`", below))
    places = (ROOT, ROOT / "engine", ROOT / "spice_explorer")
    assert [name for name in names if not any((place / name).exists() for place in places)] == []


def test_the_readme_leads_there() -> None:
    assert "(ARCHITECTURE.md)" in (ROOT / "README.md").read_text("utf-8")
