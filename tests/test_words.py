"""The words of the project: names in the glossary exist, and removed phrases do not come back."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text("utf-8")
IDENTIFIERS = sorted(set(re.findall(r"`(engine\.[\w.]+)`", GLOSSARY)))
# In documents, pages, code and interface.
BANNED = (
    "as its likeliest",
    "born wrong",
    "for whoever",
    "harms nobody",
    "is meant to fill",
    "knows nothing of",
    "least unlikely",
    "missed in words",
    "never not at all",
    "of one's own",
    "rare and precious",
    "so sure a",
    "whoever looks",
    "whoever trained",
)
# In documents and page headings, which people read first.
BANNED_IN_PROSE = ("anew", "honestly", "whoever", "goes on from", "of your own", "at hand")
PROSE = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "assets").rglob("*.md")]
PROSE += [*(ROOT / "docs").rglob("*.md"), *(ROOT / "pages").glob("*.py")]
CODE = [
    path
    for folder in ("engine", "spice_explorer", "assets/lesson")
    for ending in ("py", "js", "html")
    for path in (ROOT / folder).rglob(f"*.{ending}")
]


@pytest.mark.parametrize("name", IDENTIFIERS)
def test_the_glossary_names_what_exists(name: str) -> None:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[length:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"{name} does not exist")


def test_the_glossary_explains_every_term_once() -> None:
    terms = re.findall(r"^\| (?!term |---)(.+?) \|", GLOSSARY, re.MULTILINE)
    assert len(terms) > 30
    assert sorted(terms) == sorted(set(terms))
    assert "docs/glossary.md" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("files", "phrases"), [([*PROSE, *CODE], BANNED), (PROSE, BANNED_IN_PROSE)], ids=["everywhere", "prose"]
)
def test_phrases_once_removed_stay_out(files: list[Path], phrases: tuple[str, ...]) -> None:
    found = [
        f"{path.relative_to(ROOT)}: {phrase}"
        for path in files
        for text in [" ".join(re.sub(r"^\s*(#|//|>)", "", path.read_text("utf-8"), flags=re.MULTILINE).lower().split())]
        for phrase in phrases
        if re.search(rf"\b{re.escape(phrase)}\b", text)
    ]
    assert found == []
