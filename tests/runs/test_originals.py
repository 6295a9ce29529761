"""What a run remembers of its originals, and what its branches inherit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.curate.guidance import Guidance
from engine.data.origin import Origin
from engine.formats.stamps import stamp_of
from engine.health.exclusions import without
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.inheritance import inherit, inherit_decided
from engine.sources.open_source import Opened, open_source
from engine.sources.originals import make_thumbnails
from tests.tiny_runs import FIRST_VERSION, drawn, tiny_config, unpacked
from tests.two_colours import content, two_colours

SIZES = [(90, 30), (100, 50), (60, 60), (33, 99), (20, 20)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, size in enumerate(SIZES):
        (folder / f"{number}.png").write_bytes(content(two_colours(*size), "PNG"))
    return folder


@pytest.fixture
def opened(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Opened:
    """Named as people do, from the folder above."""
    monkeypatch.chdir(pictures.parent)
    return open_source("pictures")


@pytest.fixture
def run(opened: Opened, tmp_path: Path) -> RunFolder:
    return create_run(tmp_path / "run", opened, tiny_config())


def sizes(folder: RunFolder) -> list[list[int]]:
    found = folder.originals()
    assert found is not None
    return found[1].tolist()


def test_a_run_remembers_where_its_originals_are_and_how_large(run: RunFolder, pictures: Path) -> None:
    card = RunFolder(run.path).card()
    assert card.source == "folder:pictures"
    assert card.origin == Origin(f"folder:{pictures}", "", f"folder:{pictures}", "crop")
    assert sizes(run) == [list(size) for size in SIZES]
    found = run.originals()
    assert found is not None
    files = [(pictures / name).stat() for name in run.images().ids]
    assert found[0].tolist() == [list(stamp_of(file)) for file in files]


def test_the_root_of_a_table_is_remembered(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "t.csv").write_text("path\n" + "".join(f"{number}.png\n" for number in range(5)))
    monkeypatch.chdir(tmp_path)
    found = open_source("elsewhere/t.csv", root="pictures")
    folder = create_run(tmp_path / "run", found, tiny_config())
    monkeypatch.chdir("/")
    origin, originals = folder.card().origin, folder.originals()
    assert origin is not None
    assert originals is not None
    assert (origin.text, origin.root) == (f"table:{tmp_path}/elsewhere/t.csv", str(pictures))
    assert None not in make_thumbnails(origin, folder.images().ids, originals[0])


def test_a_run_without_the_images_that_were_left_out(opened: Opened, tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", without(opened, {"1.png", "3.png"}), tiny_config())
    assert sizes(folder) == [list(SIZES[number]) for number in (0, 2, 4)]


def test_a_branch_inherits_it(run: RunFolder, tmp_path: Path) -> None:
    branch = RunFolder(tmp_path / "branch")
    branch.path.mkdir()
    inherit(branch, run, run.card().config)
    assert sizes(branch) == sizes(run)
    assert branch.card().origin == run.card().origin


@pytest.mark.parametrize("kept", [[0, 1, 2, 3, 4], [1, 3, 4]], ids=["all", "some"])
def test_a_branch_with_decisions_inherits_it_for_the_images_that_stay(
    kept: list[int], run: RunFolder, tmp_path: Path
) -> None:
    run.save("features", {"vectors": np.zeros((5, 4), np.float32)}, weights={})
    keep = np.isin(np.arange(5), kept)
    none = np.zeros(len(kept), bool)
    labels, belief = np.zeros(len(kept), np.int64), np.zeros((len(kept), 3), np.float32)
    guidance = Guidance(keep, labels, none, none, none, none, none, labels, belief)
    branch = RunFolder(tmp_path / "branch")
    branch.path.mkdir()
    inherit_decided(branch, run, run.card().config, guidance)
    assert branch.images().ids == tuple(f"{number}.png" for number in kept)
    assert sizes(branch) == [list(SIZES[number]) for number in kept]
    found, whole = branch.originals(), run.originals()
    assert found is not None
    assert whole is not None
    assert np.array_equal(found[0], whole[0][keep])
    assert branch.card().origin == run.card().origin


def test_images_from_nowhere_have_no_originals(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", Opened(drawn()[0]), tiny_config())
    assert folder.originals() is None
    assert folder.card().origin is None


def test_runs_of_the_first_version_know_nothing_of_originals(tmp_path: Path) -> None:
    unpacked(FIRST_VERSION, tmp_path)
    for name in ("finished", "stopped"):
        folder = RunFolder(tmp_path / name)
        assert folder.card().origin is None
        assert folder.originals() is None


def test_a_source_whose_path_is_no_text_is_remembered(tmp_path: Path, pictures: Path) -> None:
    place = tmp_path / "odd\udcff"
    shutil.move(pictures, place)
    folder = create_run(tmp_path / "run", open_source(str(place)), tiny_config())
    json.loads((folder.path / "run.json").read_text("utf-8"))
    origin, originals = RunFolder(folder.path).card().origin, folder.originals()
    assert origin is not None
    assert originals is not None
    assert make_thumbnails(origin, ["0.png"], originals[0][:1]) != [None]
