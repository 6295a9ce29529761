"""Streaming: rows in order, each unreadable file in its place, and never more in memory than needed."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from engine.__main__ import main
from engine.errors import RunError, SourceError
from engine.metrics import truth_scores
from engine.models import streaming
from engine.models.inputs import asked
from engine.models.model import Model
from engine.models.packing import packed
from engine.models.rows import COLUMNS, rows_of
from engine.models.streaming import AHEAD, TOGETHER, batch_size, of_files, suited
from engine.runs.folder import RunFolder
from tests.tiny_runs import drawn

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """40 bars as PNG, every fifth in colour, with a text, an empty file and half an image among them."""
    place = tmp_path / "pictures"
    place.mkdir()
    images, _ = drawn(seed=2, images=40)
    for number, pixels in enumerate(images.pixels[:, 0]):
        image = Image.fromarray(pixels)
        (image.convert("RGB") if number % 5 == 0 else image).save(place / f"{number:02d}.png")
    (place / "05.png").write_bytes((place / "06.png").read_bytes()[:60])
    (place / "17.png").write_text("Dear Sir")
    (place / "30.png").write_bytes(b"")
    return place


def rows(model: Model, what: str, lines: str = "") -> list[dict[str, Any]]:
    return [row for told in asked(model, what, io.StringIO(lines)).told for row in rows_of(told, model.about)]


def test_rows_are_in_order_and_unreadable_files_have_theirs(model: Model, folder: Path) -> None:
    found = rows(model, str(folder))
    assert [row["path"] for row in found] == [str(folder / f"{number:02d}.png") for number in range(40)]
    broken = {Path(row["path"]).stem: row for row in found if row["error"]}
    assert sorted(broken) == ["05", "17", "30"]
    assert (broken["17"]["error"], broken["30"]["error"]) == ("not an image", "the file is empty")
    assert all(row["class"] is None and row["unknown"] is None for row in broken.values())
    expected = model.answer(drawn(seed=2, images=40)[0].pixels)
    for number, row in enumerate(found):
        if row["error"] is None:
            assert row["class"] == model.about.classes[expected.classes[number]]
            assert row["runner_up"] == model.about.classes[expected.runners_up[number]]
            assert row["confidence"] == pytest.approx(expected.confidence[number], abs=1e-5)
            assert row["distance"] == pytest.approx(expected.distance[number], abs=1e-5)
            assert row["unknown"] == expected.unknown[number]


def test_a_stream_of_paths_gives_the_rows_of_the_folder(model: Model, folder: Path) -> None:
    files = [str(folder / f"{number:02d}.png") for number in range(40)]
    found = rows(model, "-", "\n".join([*files, "", str(folder), "gone.png"]))
    assert [row["error"] for row in found[40:]] == ["a folder, not an image", "No such file or directory"]
    for one, other in zip(found, rows(model, str(folder)), strict=False):
        for name in ("path", "class", "unknown", "error"):
            assert one[name] == other[name]
    assert rows(model, files[3])[0]["class"] == found[3]["class"]
    with pytest.raises(RunError, match="single files have no labels"):
        asked(model, "-", io.StringIO(), labels=True)


def test_a_program_that_waits_for_an_answer_before_the_next_path_gets_it(model: Model, folder: Path) -> None:
    paths: queue.Queue[str | None] = queue.Queue()

    def stream() -> Iterator[tuple[str, str]]:
        while (path := paths.get(timeout=60)) is not None:
            yield path, path

    told = of_files(model, stream(), lambda key: key, together=1)
    for number in (1, 2, 3):
        paths.put(str(folder / f"{number:02d}.png"))
        assert [Path(name).stem for name in next(told).names] == [f"{number:02d}"]
    paths.put(None)
    assert list(told) == []


def test_reading_runs_ahead_by_a_bounded_number_of_images(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = 2
    monkeypatch.setattr(streaming.os, "cpu_count", lambda: workers)
    path, taken, done, most = str(folder / "01.png"), 0, 0, 0

    def files() -> Iterator[tuple[str, str]]:
        nonlocal taken
        for number in range(6_000):
            taken += 1
            yield str(number), path

    for told in of_files(model, files(), lambda key: key):
        most = max(most, taken - done)
        done += len(told.names)
    assert done == 6_000
    assert most <= batch_size(model.about) + TOGETHER * (AHEAD * workers + 3)


def test_what_goes_wrong_in_the_list_of_files_is_raised(model: Model, folder: Path) -> None:
    def files() -> Iterator[tuple[str, str]]:
        yield "1", str(folder / "01.png")
        raise SourceError("the archive is damaged")

    with pytest.raises(SourceError, match="the archive is damaged"):
        list(of_files(model, files(), lambda key: key))
    assert not [one for one in threading.enumerate() if one.name == "spice-hand-out" and one.is_alive()]


def test_arrays_are_scaled_and_coloured_as_the_model_takes_them(model: Model) -> None:
    about = model.about
    colour = np.zeros((2, 3, 16, 16), np.uint8)
    colour[0, 0], colour[1] = 255, 100
    found = suited(colour, about)
    assert found.shape == (2, 1, 8, 8)
    assert (found[0] == 76).all()  # the brightness of pure red
    assert (found[1] == 100).all()


def test_files_cannot_be_asked_of_a_model_of_oblong_images(model: Model, folder: Path) -> None:
    oblong = replace(model, about=replace(model.about, width=12))
    with pytest.raises(RunError, match="trained on images of 12×8"):
        rows(oblong, str(folder))
    with pytest.raises(RunError, match="the images are 8×8"):
        rows(oblong, "digits")


def content_of(file: Path) -> tuple[dict[str, str], dict[str, list[float]]]:
    """Metadata and weights: safetensors writes the former in any order."""
    with safe_open(file, "np") as opened:
        names = list(opened.keys())
        return opened.metadata(), {name: opened.get_tensor(name).tolist() for name in names}


# -- the command ---------------------------------------------------------------------------------


def test_the_command_writes_csv_and_json_lines(
    bars: RunFolder, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "01.png").rename(folder / "=1+1.png")
    assert main(["predict", str(bars.path), f"folder:{folder}", "--format", "jsonl"]) == 0
    done = capsys.readouterr()
    found = [json.loads(line) for line in done.out.splitlines()]
    assert tuple(found[0]) == COLUMNS
    assert "37 images labelled" in done.err
    assert "3 could not be read" in done.err
    out = tmp_path / "out.csv"
    assert main(["predict", str(bars.path), str(folder), "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out)["unreadable"] == 3
    with out.open(newline="") as file:
        again = list(csv.DictReader(file))
    assert [row["class"] for row in again] == [row["class"] or "" for row in found]
    assert [float(row["distance"]) for row in again if row["distance"]] == [
        row["distance"] for row in found if row["error"] is None
    ]
    assert {row["unknown"] for row in again} <= {"true", "false", ""}


def test_names_that_a_spreadsheet_would_run_are_guarded_in_csv_alone(
    bars: RunFolder, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    (folder / "01.png").rename("=1+1.png")
    starts = {(): '"\'=1+1.png"', ("--no-guard",): '"=1+1.png"', ("--format", "jsonl"): '{"path": "=1+1.png"'}
    for options, start in starts.items():
        assert main(["predict", str(bars.path), "=1+1.png", *options]) == 0
        assert capsys.readouterr().out.splitlines()[-1].startswith(start)


def test_a_model_file_predicts_and_labels_score(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "classes"
    images, truth = drawn(seed=2, images=30)
    for number, label in enumerate(truth.labels):
        (place / truth.class_names[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.pixels[number, 0]).save(place / truth.class_names[label] / f"{number}.png")
    (place / "none" / "broken.png").write_bytes(b"?")
    file = tmp_path / "m.safetensors"
    file.write_bytes(packed(model))
    assert main(["predict", str(file), str(place), "--labels", "--out", str(tmp_path / "o.csv")]) == 0
    found = json.loads(capsys.readouterr().out)
    labels = model.answer(images.pixels).classes
    assert found["images"] == 30
    assert found["truth"]["acc"] == pytest.approx(truth_scores(labels, truth.labels)["acc"], abs=1e-6)


def test_a_reader_that_has_enough_ends_it_quietly(bars: RunFolder, folder: Path) -> None:
    lines = "\n".join([str(folder / "01.png")] * 3_000)
    command = [sys.executable, "-m", "engine", "predict", str(bars.path), "-", "--format", "jsonl", "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        stdin = process.stdin

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError):
                stdin.write(lines)
                stdin.close()

        threading.Thread(target=feed).start()
        assert json.loads(process.stdout.readline())["error"] is None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


def test_a_model_is_written_with_its_card_and_never_over_another(
    bars: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.safetensors"
    assert main(["model", str(bars.path), "--out", str(out)]) == 0
    assert (tmp_path / "m.safetensors.md").read_text("utf-8").startswith("# bars: 3 classes")
    before = content_of(out)
    assert main(["model", str(bars.path), "--out", str(out)]) == 1
    assert "exists: choose another name" in capsys.readouterr().err
    assert main(["model", str(bars.path), "--out", str(out), "--overwrite"]) == 0
    assert content_of(out) == before
    assert main(["model", str(bars.path), "--out", str(tmp_path / "m.bin")]) == 1
    assert "does not end in .safetensors" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "m.safetensors.md"), "digits"]) == 1
    assert "is no model" in capsys.readouterr().err
