"""Folders of the workspace that cannot be read, and runs of a newer version: each costs its own line, no more."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import RunError
from engine.runs.folder import FORMAT, RunFolder
from spice_explorer.queries import lessons, runs
from tests.app.conftest import Visit


@pytest.fixture
def shut(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes a path, and all below it, one that may not be looked at: the tests may run as root, who may."""
    closed: list[str] = []
    real_stat, real_scandir, real_listdir = os.stat, os.scandir, os.listdir

    def checked(call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(path: Any = ".", *args: Any, **kwargs: Any) -> Any:
            where = "" if isinstance(path, int) else os.fspath(path)
            if any(str(where) == one or str(where).startswith(one + os.sep) for one in closed):
                raise PermissionError(13, "Permission denied", where)
            return call(path, *args, **kwargs)

        return guarded

    for name, call in (("stat", real_stat), ("scandir", real_scandir), ("listdir", real_listdir)):
        monkeypatch.setattr(os, name, checked(call))
    return lambda path: closed.append(str(path))


def newer(finished: RunFolder, name: str = "newer") -> Path:
    """A run whose card has a format that this version does not know, nor how to read its settings."""
    path = finished.path.parent / name
    path.mkdir()
    card = json.loads((finished.path / "run.json").read_text("utf-8"))
    (path / "run.json").write_text(json.dumps({"format": FORMAT + 1, "created": card["created"]}), "utf-8")
    return path


def test_a_run_of_a_newer_version_is_listed_with_the_reason(finished: RunFolder) -> None:
    path = newer(finished)
    assert runs.listed() == [
        runs.Listed("newer", f"{path} has run format {FORMAT + 1}, but this version reads up to {FORMAT}"),
        runs.Listed("demo"),
    ]
    assert (runs.run_names(), runs.newest()) == (["demo"], "demo")


def test_a_damaged_card_is_listed_with_the_reason_and_again_as_a_run_when_it_is_mended(finished: RunFolder) -> None:
    path = finished.path.parent / "broken"
    path.mkdir()
    (path / "run.json").write_text("{", "utf-8")
    (broken,) = runs.troubled()
    assert (broken.name, "is damaged" in broken.trouble) == ("broken", True)
    (path / "run.json").write_bytes((finished.path / "run.json").read_bytes())
    os.utime(path / "run.json", ns=(1, 1))
    assert (runs.troubled(), runs.run_names()) == ([], ["demo", "broken"])


def test_a_folder_that_may_not_be_looked_into_is_listed_and_costs_nothing_else(
    finished: RunFolder, shut: Callable[[Path], None]
) -> None:
    closed = finished.path.parent / "closed"
    closed.mkdir()
    shut(closed)
    assert runs.listed() == [runs.Listed("demo"), runs.Listed("closed", "it cannot be read (Permission denied)")]
    assert runs.find("closed") is None
    assert runs.newest() == "demo"
    with pytest.raises(RunError, match=r"closed cannot be read \(Permission denied\): check its permissions"):
        runs.made(RunFolder(closed))


def test_a_card_that_may_not_be_read_is_listed_until_it_may(
    finished: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = finished.path.parent / "secret"
    path.mkdir()
    (path / "run.json").write_bytes((finished.path / "run.json").read_bytes())
    os.utime(path / "run.json", ns=(5, 5))
    read = Path.read_text

    def refused(file: Path, *args: Any, **kwargs: Any) -> str:
        if file.parent == path:
            raise PermissionError(13, "Permission denied", str(file))
        return read(file, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", refused)
        assert runs.troubled() == [runs.Listed("secret", "it cannot be read (Permission denied)")]
    assert runs.troubled() == []
    assert runs.run_names() == ["demo", "secret"]


def test_a_workspace_that_may_not_be_read_is_a_sentence(workspace: Path, shut: Callable[[Path], None]) -> None:
    shut(workspace)
    with pytest.raises(RunError, match=r"the folder of the runs, .* cannot be read \(Permission denied\)"):
        runs.run_names()


@pytest.mark.parametrize("name", ["x" * 300, "a\x00b", "", ".", "..", "a/b"])
@pytest.mark.usefixtures("finished")
def test_what_no_folder_can_be_called_is_no_run(name: str) -> None:
    assert runs.find(name) is None


def test_a_run_that_waits_does_not_stumble_over_a_damaged_one(finished: RunFolder, interrupted: RunFolder) -> None:
    (interrupted.path / "events.jsonl").write_text("nonsense\n", "utf-8")
    look = runs.look(finished)
    queued = runs.Run(look.folder, look.card, type(look.snapshot)(state="queued"), False, None, False)
    assert lessons.ahead_of(queued) is None


PAGES = ["dataset", "train", "map", "prototypes", "reliability", "curate", "export", "learn"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_shows_the_other_runs_and_a_grey_line_for_each(
    visit: Visit, finished: RunFolder, shut: Callable[[Path], None], page: str
) -> None:
    newer(finished)
    (finished.path.parent / "closed").mkdir()
    shut(finished.path.parent / "closed")
    app = visit(page)
    assert not app.exception
    assert [one.value for one in app.error] == []
    (picker,) = [one for one in app.sidebar.selectbox if one.key == "run picker"]
    assert picker.options == ["demo"]
    assert picker.value == "demo"
    grey = [one for one in _html(app) if "spice-troubled" in one]
    assert len(grey) == 1
    assert grey[0].count("<div class='spice-troubled'>") == 2
    assert "closed: it cannot be read (Permission denied)" in grey[0]
    assert f"has run format {FORMAT + 1}" in grey[0]


def _html(app: Any) -> list[str]:
    return [one.proto.body for one in app.sidebar.get("html")]


def test_a_page_of_a_newer_run_says_so_and_lets_another_be_chosen(visit: Visit, finished: RunFolder) -> None:
    newer(finished)
    app = visit("map", run="newer")
    assert not app.exception
    assert any(f"has run format {FORMAT + 1}" in one.value for one in app.error)
    (picker,) = [one for one in app.sidebar.selectbox if one.key == "run picker"]
    assert (picker.options, picker.value) == (["demo"], None)


def test_many_troubled_runs_are_counted_beyond_the_first(visit: Visit, finished: RunFolder) -> None:
    for number in range(8):
        newer(finished, f"newer-{number}")
    (grey,) = [one for one in _html(visit("map")) if "spice-troubled" in one]
    assert grey.count("has run format") == 5
    assert "3 more cannot be shown" in grey
