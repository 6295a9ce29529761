from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from engine import checksums
from engine.__main__ import main
from engine.curate.decisions import Decision
from engine.curate.judging import Model
from engine.exports.export import Asked, export_run
from engine.runs.files import load_array
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log, observe, summary
from engine.runs.safeguards.check import UNSIGNED, check
from tests.runs.safeguards.conftest import flip
from tests.tiny_runs import FIRST_VERSION, unpacked


def troubles(folder: RunFolder) -> dict[str, str]:
    return {found.name: found.trouble for found in check(folder) if found.trouble}


def unsigned(folder: RunFolder) -> RunFolder:
    """As an earlier version wrote it: without checksums."""
    for file in folder.path.rglob(checksums.FILE):
        file.unlink()
    return folder


def test_nothing_is_wrong_with_a_run_as_it_was_written(run: RunFolder) -> None:
    found = list(check(run))
    assert {one.line.partition(": ")[2] for one in found} == {"whole"}
    assert {"run.json", "images", "truth", "columns", "features", "heads", "joint", "reliable-joint"} <= {
        one.name for one in found
    }
    assert {one.name.split("/")[0] for one in found if "/" in one.name} == {"frames", "xray"}


PARTS = [
    "images/pixels.npy",
    "images/ids.npy",
    "truth/labels.npy",
    "columns/values-0.npy",
    "features/vectors.npy",
    "features/weights.pt",
    "neighbors/ids.npy",
    "heads/probabilities.npy",
    "joint/weights.pt",
    "reliable-joint/labels.npy",
    "run.json",
]


@pytest.mark.parametrize("name", PARTS)
def test_one_flipped_bit_is_found_and_what_cannot_be_made_again_is_not_given_up(run: RunFolder, name: str) -> None:
    flip(run.path / name, (run.path / name).stat().st_size // 2 if name.endswith(".pt") else -5, 0)
    found = troubles(run)
    assert list(found) == [name.partition("/")[0]]
    (told,) = found.values()
    assert "delete" not in told
    again = name.partition("/")[0] in ("features", "neighbors", "heads", "joint", "reliable-joint")
    assert ("resume the run" in told) == again
    assert ("put back a copy" in told) == (not again)


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("name", PARTS[:-1])
def test_files_that_are_cut_off_or_gone_are_found(run: RunFolder, name: str, damage: str) -> None:
    file = run.path / name
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-3])
    assert list(troubles(run)) == [name.partition("/")[0]]


def test_features_that_were_exchanged_are_noticed_below_what_was_made_of_them(run: RunFolder) -> None:
    arrays = {name: np.array(values) for name, values in run.load("features").items()}
    arrays["vectors"] = arrays["vectors"][::-1]
    run.save("features", arrays, run.path / "features" / "weights.pt", of=("images",))
    found = troubles(run)
    assert set(found) == {"neighbors", "heads", "joint"}
    assert all("made of other features than those that are here now" in told for told in found.values())


def test_a_run_without_checksums_is_checked_as_far_as_it_can_be(run: RunFolder) -> None:
    lines = {found.name: found.line for found in check(unsigned(run))}
    assert troubles(run) == {}
    assert lines["features"] == f"features: {UNSIGNED}"
    flip(run.path / "images" / "pixels.npy")
    (run.path / "neighbors" / "ids.npy").write_bytes(b"\x93NUMPY")
    file = run.path / "joint" / "weights.pt"
    flip(file, file.stat().st_size // 2)
    assert set(troubles(run)) == {"images", "neighbors", "joint"}


def test_whatever_a_damaged_header_says_is_a_sentence(tmp_path: Path) -> None:
    file, refused = tmp_path / "values.npy", 0
    np.save(file, np.arange(6, dtype=np.float32).reshape(2, 3))
    content = file.read_bytes()
    for bit in range(8 * 128):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        try:
            load_array(file)
        except ValueError:
            refused += 1
    assert refused > 300


def test_labels_whose_events_are_lost_are_not_told_by_those_of_an_earlier_stage(run: RunFolder) -> None:
    file = run.path / "events.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    last = max(place for place, line in enumerate(lines) if b"ReliableSelected" in line)
    file.write_bytes(b"".join(lines[:last]))
    assert summary(run, observe(run))["reliable"] is None


def test_runs_of_the_first_version_are_checked(tmp_path: Path) -> None:
    for place in sorted(one.parent for one in unpacked(FIRST_VERSION, tmp_path).rglob("run.json")):
        assert troubles(RunFolder(place)) == {}, place.name


def test_a_damaged_record_says_nothing_about_the_files(run: RunFolder) -> None:
    file = run.path / "truth" / checksums.FILE
    flip(file, file.read_bytes().index(b"labels.npy") + 20, 0)
    assert run.truth() is not None
    assert troubles(run) == {}


def test_a_decision_that_changed_and_a_line_of_events_are_told(run: RunFolder) -> None:
    flip(run.path / "events.jsonl", 30, 1)
    (run.path / "decisions.sqlite").write_bytes(b"no database at all" * 400)
    found = troubles(run)
    assert set(found) == {"events.jsonl", "decisions.sqlite"}
    assert found["events.jsonl"].startswith("1 of ")
    assert not list(run.path.glob("decisions.damaged-*"))
    assert observe(run).skipped == 1


def test_a_log_of_decisions_that_is_gone_is_told(run: RunFolder) -> None:
    with closing(decision_log(run)) as log:
        assert not troubles(run)
        count = len(run.images())
        model = Model(np.zeros(count, np.int64), np.ones(count, np.float32), "joint")
        log.commit([Decision("reject", "Ann", images=np.array([0]))], model)
    assert not troubles(run)
    (run.path / "decisions.sqlite").unlink()
    assert "put back a copy of it" in troubles(run)["decisions.sqlite"]
    with closing(decision_log(run)) as log:
        exported = export_run(run, Asked("csv", run.path.parent / "labels.csv"), log)
    assert [note for note in exported.notes if note.startswith("decisions.sqlite is gone")]


def test_the_command_prints_a_line_for_each_part(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(run.path)]) == 0
    out = capsys.readouterr()
    assert "heads: whole" in out.out.splitlines()
    assert out.err == "nothing is damaged\n"
    shutil.rmtree(run.path / "truth")
    (run.path / "heads" / "losses.npy").unlink()
    assert main(["check", str(run.path)]) == 1
    out = capsys.readouterr()
    (line,) = [one for one in out.out.splitlines() if one.startswith("heads: ")]
    assert line.startswith("heads: losses.npy is missing: resume the run")
    assert out.err == "1 part is damaged\n"
    assert main(["check", str(run.path / "truth")]) == 1
    assert "contains no run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [lambda text: text.replace('"seed": 0', '"seed": 1'), lambda text: text[:50], lambda _: "[]"],
    ids=["seed", "cut", "list"],
)
def test_settings_that_changed_are_found(run: RunFolder, damage: Callable[[str], str]) -> None:
    file = run.path / "run.json"
    before = json.loads(file.read_text())
    file.write_text(damage(json.dumps(before)))
    assert "run.json is not as it was written" in troubles(run)["run.json"]
