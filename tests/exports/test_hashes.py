"""The hash of each original in exported tables."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.errors import Stopped
from engine.exports import hashes
from engine.exports.export import Asked, export_run
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.results import decision_log
from engine.sources.open_source import open_source
from tests.exports.conftest import DoExport, labels_of
from tests.tiny_runs import tiny_config


def sha(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("format", ["csv", "parquet", "folders", "hf-parquet"])
def test_each_row_has_the_hash_of_its_file_only_if_that_is_asked(
    format: str, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    place = tmp_path / "out"
    table = place if format in ("csv", "parquet") else place / "labels.csv"
    read = pd.read_parquet if format == "parquet" else pd.read_csv
    export(format)
    assert hashes.COLUMN not in read(table)
    done = export(format, hash="original", scope="reliable", overwrite=True)
    found = read(table)
    assert found[hashes.COLUMN].tolist() == [sha(photos / one) for one in found["id"]]
    assert len(found) == 20
    assert done.notes == ()


def test_what_is_gone_or_another_file_by_now_is_said(
    run: RunFolder, photos: Path, export: DoExport, tmp_path: Path
) -> None:
    ids = run.images().ids
    (photos / ids[0]).unlink()
    (photos / ids[1]).write_bytes(b"another, and longer" * 90)
    done = export("csv", "out.csv", hash="original")
    found = pd.read_csv(tmp_path / "out.csv", keep_default_na=False)[hashes.COLUMN]
    assert found[0] == ""
    assert found[1] == sha(photos / ids[1])
    assert "1 originals are gone or cannot be read: their original_sha256 is empty" in done.notes
    assert any(one.startswith("1 originals have another size in bytes") for one in done.notes)
    photos.rename(tmp_path / "moved")
    done = export("jsonl", "out.jsonl", hash="original")
    assert [one for one in done.notes if "is not there any more" in one and "original_sha256 is empty" in one]
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert {one[hashes.COLUMN] for one in rows} == {""}


def judged(place: Path, source: str) -> RunFolder:
    """A run on 40 images of a source whose labels nobody trained."""
    folder = create_run(place, open_source(source), tiny_config())
    count = folder.card().images
    ones = np.ones(count, np.float32)
    verdict = {"labels": labels_of(count), "confidence": ones, "agreement": ones}
    folder.save("reliable-heads", {**verdict, "verdicts": np.zeros(count, np.uint8), "thresholds": ones[:3]})
    return folder


def hashes_of(folder: RunFolder, out: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    with contextlib.closing(decision_log(folder)) as log:
        done = export_run(folder, Asked("csv", out, hash="original"), log)
    return pd.read_csv(out, keep_default_na=False), done.notes


@pytest.mark.parametrize(("kind", "packed"), [("zip", "zip"), ("tar", "gztar")])
def test_of_an_archive_it_is_that_of_the_member(kind: str, packed: str, photos: Path, tmp_path: Path) -> None:
    made = shutil.make_archive(str(tmp_path / "all"), packed, photos)
    table, notes = hashes_of(judged(tmp_path / "packed", f"{kind}:{made}"), tmp_path / "out.csv")
    assert table[hashes.COLUMN].tolist() == [sha(photos / one.removeprefix("./")) for one in table["id"]]
    assert len(set(table[hashes.COLUMN])) == 40
    assert notes == ()


def test_arrays_have_no_original_files(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8)
    np.save(tmp_path / "images.npy", pixels)
    table, notes = hashes_of(judged(tmp_path / "run", f"arrays:{tmp_path / 'images.npy'}"), tmp_path / "out.csv")
    assert set(table[hashes.COLUMN]) == {""}
    assert [one for one in notes if "has no original files: original_sha256 is empty" in one]


def test_large_files_are_read_in_blocks_and_can_be_stopped_within_one(
    run: RunFolder, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashes, "BLOCK", 100)
    first = photos / run.images().ids[0]
    first.write_bytes(bytes(range(250)) * 2)
    asked, told = [], list[tuple[str, int, int]]()

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 4

    with contextlib.closing(decision_log(run)) as log, pytest.raises(Stopped):
        export_run(
            run,
            Asked("csv", tmp_path / "out.csv", hash="original"),
            log,
            progress=lambda *steps: told.append(steps),
            stop=stop,
        )
    assert told == [("hashing", 0, 40)], "it stopped within the first of the files, after 400 of 500 bytes"
    assert not (tmp_path / "out.csv").exists()
