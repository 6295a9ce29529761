"""The report as a file: what is in the page, and how it is written."""

from __future__ import annotations

import base64
import errno
import hashlib
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import RunError
from engine.report.report import write_report
from engine.runs.folder import RunFolder
from engine.runs.maps import DEFAULT, artefact_of
from tests.report.made import decide, made
from tests.report.made import page as report
from tests.report.made import said as contents
from tests.test_command_line import do, refused

NASTY = "</script><img src=x onerror=alert(1)>\"'&"


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and its text without style and scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._raw = "", ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._raw = tag if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._raw = "" if tag == self._raw else self._raw

    def handle_data(self, data: str) -> None:
        self.text += "" if self._raw else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def data_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script id="data" type="application/json">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_the_page_shows_all_that_the_report_says(run: RunFolder) -> None:
    decide(run, "accept", [3], who="Ann")
    said, page = contents(run), report(run)
    shown = Parsed(page)
    words = " ".join(shown.text.split())
    for one in said.figures:
        assert f"{one.value}{one.name}".replace("\xa0", " ") in words
    for name, value in said.facts:
        assert f"{name}{value}".replace("\xa0", " ") in words
    section = page[page.index('<section id="reliability"') : page.index('<section id="people"')]
    rows = [re.findall(r'class="number">([\d,]+)<', row) for row in section.split("<tr>")[2:]]
    assert rows == [[f"{count:,}" for count in one.counts or ()] for one in said.clusters]
    assert data_in(page) == json.loads(json.dumps(said.map))
    pictures = [one["alt"] for one in shown.all("img")]
    assert pictures == [
        said.shown.names[image]
        for ids in ([one.typical for one in said.clusters], [one.forming for one in said.clusters])
        for each in ids
        for image in each
    ]


def test_nothing_can_be_loaded_and_only_its_own_script_can_run(run: RunFolder) -> None:
    page = report(run)
    shown = Parsed(page)
    (policy,) = [one["content"] for one in shown.all("meta") if one.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data: blob:"
    for kind, tag in (("script-src", "script"), ("style-src", "style")):
        body = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(body) == 1
        digest = base64.b64encode(hashlib.sha256(body[0].encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    for _, attributes in shown.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:", "#"))


def test_what_people_typed_and_what_files_are_called_is_text(tmp_path: Path) -> None:
    run = made(tmp_path / "a<b>run")
    decide(run, "rename", class_=3, text=NASTY)
    decide(run, "accept", [3], who="<i>Ann</i>")
    page = report(run)
    shown = Parsed(page)
    assert len(shown.all("script")) == 2
    assert not shown.all("b")[0]
    assert not [one for one in shown.all("img") if not (one["src"] or "").startswith("data:image/")]
    assert shown.text.count(NASTY) == 4  # clusters, prototypes, reliability, classes
    assert "<i>Ann</i>" in shown.text
    assert "<b>odd</b>.png" in shown.text
    assert html.escape("a<b>run") in page
    assert {one["name"] for one in data_in(page)["legend"]} >= {NASTY}


def test_it_does_not_say_where_the_images_lie(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    card = json.loads((run.path / "run.json").read_text())
    card["source"] = "folder:/home/ann/secret/photos"
    (run.path / "run.json").write_text(json.dumps(card))
    page = report(run)
    assert "secret" not in page
    assert "/home" not in page
    assert "<h1>photos</h1>" in page


def test_the_command_writes_it_and_says_how_large_it_is(run: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "out" / "report.html"
    file.parent.mkdir()
    done = do("report", str(run.path), "--out", str(file))
    assert done.code == 0
    size = len(file.read_bytes())
    assert done.err.splitlines()[-1] == f"{size / 1e3:.1f} kB in {file}"
    assert [one.name for one in file.parent.iterdir()] == ["report.html"]


def test_a_file_that_exists_stays_unless_asked_otherwise(run: RunFolder, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("mine")
    assert refused("report", str(run.path), "--out", str(file)).endswith("(--overwrite)")
    assert file.read_text() == "mine"
    assert write_report(run, file, overwrite=True) == len(file.read_bytes())
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="exists and is not a file"):
        write_report(run, tmp_path / "folder", overwrite=True)


def test_nothing_half_written_stays(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "out"
    place.mkdir()
    file = place / "report.html"

    def full(_number: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("engine.runs.files.os.fsync", full)
    with pytest.raises(RunError, match=r"No space left on device; nothing was left there"):
        write_report(run, file)
    assert list(place.iterdir()) == []
    file.write_text("mine")
    with pytest.raises(RunError, match="No space left"):
        write_report(run, file, overwrite=True)
    assert [one.read_text() for one in place.iterdir()] == ["mine"]


def test_the_umap_is_computed_first_if_that_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path / "run", umap=False)

    def compute(folder: RunFolder, **_: object) -> None:
        folder.save(artefact_of(folder, DEFAULT), {"points": np.zeros((300, 2), np.float32)})

    monkeypatch.setattr("engine.report.report.compute", compute)
    write_report(run, tmp_path / "without.html")
    assert data_in((tmp_path / "without.html").read_text("utf-8"))["kind"] == "pca"
    assert do("report", str(run.path), "--out", str(tmp_path / "with.html"), "--map").code == 0
    assert data_in((tmp_path / "with.html").read_text("utf-8"))["kind"] == "umap"


def test_a_missing_folder_and_no_run_are_named(run: RunFolder, tmp_path: Path) -> None:
    assert "cannot be written" in refused("report", str(run.path), "--out", str(tmp_path / "none" / "report.html"))
    shutil.rmtree(run.path)
    assert "contains no run" in refused("report", str(run.path), "--out", str(tmp_path / "report.html"))
    assert not (tmp_path / "report.html").exists()
