"""order.txt: joins several browser files into one."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.lesson.html_file import ASSETS
from engine.lesson.scripts import files, joined


@pytest.fixture
def order(tmp_path: Path) -> Path:
    """An order with own scripts before and after those of another folder."""
    for folder in ("own", "other"):
        (tmp_path / folder).mkdir()
    for name in ("shared.js", "own/a.js", "own/z.js", "own/a.css", "other/m.js", "other/m.css"):
        (tmp_path / name).write_text(f"/* {name} */")
    (tmp_path / "other" / "order.txt").write_text("m.css\n../shared.js\nm.js\n")
    (tmp_path / "own" / "order.txt").write_text("z.js\na.css\n../other/order.txt\na.js\n")
    return tmp_path / "own" / "order.txt"


def test_files_come_in_their_order_and_those_of_another_order_in_its_place(order: Path) -> None:
    assert [path.name for path in files(order)] == ["z.js", "a.css", "m.css", "shared.js", "m.js", "a.js"]


def test_the_files_of_one_kind_are_joined(order: Path) -> None:
    assert joined(order, "js") == "/* own/z.js */\n/* shared.js */\n/* other/m.js */\n/* own/a.js */"
    assert joined(order, "css") == "/* own/a.css */\n/* other/m.css */"
    assert joined(order, "html") == ""


def test_a_json_file_is_a_constant_for_the_scripts(order: Path) -> None:
    (order.parent / "values.json").write_text('{"a": [1]}\n')
    order.write_text("values.json\na.js\na.css\n")
    assert joined(order, "js") == 'const VALUES = {"a": [1]};\n\n/* own/a.js */'
    assert joined(order, "css") == "/* own/a.css */"


def test_a_file_that_is_named_must_be_there(order: Path) -> None:
    (order.parent / "a.js").unlink()
    with pytest.raises(FileNotFoundError, match=r"a\.js"):
        joined(order, "js")


def test_the_player_names_all_its_scripts_once() -> None:
    named = [path.resolve() for path in files(ASSETS / "order.txt")]
    assert len(named) == len(set(named))
    assert {path for path in named if path.parent == ASSETS} == set(ASSETS.glob("*.js"))
