"""Every share is written the same way: "90.4 %", with a space that no line break takes apart."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.shares import percent

ROOT = Path(__file__).parents[1]
NBSP = "\N{NO-BREAK SPACE}"
MODULES = ("engine/**/*.py", "spice_explorer/**/*.py", "pages/*.py")
SCRIPTS = ("assets/**/*.js", "spice_explorer/**/*.js")
# A number with the sign right behind it, or with a space at which a line may break.
SIGN = re.compile(r"\d ?%(?!\w)")
# Of Plotly, which writes the shares on the axes of a chart.
AXES = (".0%", ".1~%")
# What style sheets take as it is, in scripts.
STYLE = re.compile(r"style|width:|left:|background|const part = \(at, of\)")


def written_otherwise(source: str) -> Iterator[str]:
    """What a module writes with a share in another form; docstrings are not shown to anybody."""
    tree = ast.parse(source)
    unseen = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for one in ast.walk(tree):
        if isinstance(one, ast.JoinedStr):
            yield from _in_a_sentence(one)
        elif isinstance(one, ast.Constant) and isinstance(one.value, str) and id(one) not in unseen:
            yield from [one.value] if SIGN.search(one.value) and one.value not in AXES else []


def _in_a_sentence(whole: ast.JoinedStr) -> Iterator[str]:
    before = ""
    for part in whole.values:
        if isinstance(part, ast.FormattedValue):
            text = ast.unparse(part)
            if part.format_spec is not None and ast.unparse(part.format_spec).rstrip("'\"").endswith("%"):
                yield text
        elif isinstance(part, ast.Constant):
            share = isinstance(part.value, str) and part is not whole.values[0] and re.match(r" ?%", part.value)
            if share and not before.endswith(("width:", "width: ")):
                yield ast.unparse(whole)
        before = part.value if isinstance(part, ast.Constant) else before


def in_script(source: str) -> Iterator[str]:
    """Lines of a script that write a share in another form, other than for a style."""
    for line in source.splitlines():
        if re.search(r"\} ?%`", line) and not STYLE.search(line):
            yield line.strip()


def test_a_share_has_a_space_before_its_sign() -> None:
    assert percent(0.904) == f"90.4{NBSP}%"
    assert percent(1.0, 0) == f"100{NBSP}%"
    assert percent(None) == "–"


@pytest.mark.parametrize("text", ['f"{share:.1%} right"', 'f"at {done:.0%}"', 'f"{100 * share:.0f} % of"', '"at 50 %"'])
def test_other_forms_are_found(text: str) -> None:
    assert list(written_otherwise(f"said = {text}"))


def test_other_forms_are_found_in_scripts() -> None:
    assert list(in_script("const words = `${100 * share}%`;"))
    assert not list(in_script("bar.style.width = `${100 * share}%`;"))


@pytest.mark.parametrize("text", ['f"{percent(share)} right"', "f\"<i style='width:{share:.1f}%'>\"", '"%{x}: %{y}"'])
def test_what_is_no_share_is_left_alone(text: str) -> None:
    assert not list(written_otherwise(f"said = {text}"))


def test_all_pages_and_sentences_write_shares_the_same_way() -> None:
    found = dict[str, list[str]]()
    for patterns, otherwise in ((MODULES, written_otherwise), (SCRIPTS, in_script)):
        files = [file for pattern in patterns for file in sorted(ROOT.glob(pattern))]
        assert len(files) > 30
        found |= {str(file.relative_to(ROOT)): list(otherwise(file.read_text("utf-8"))) for file in files}
    assert {file: texts for file, texts in found.items() if texts} == {}
