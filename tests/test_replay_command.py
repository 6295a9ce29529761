"""`python -m engine replay` and `trials`: a lesson as one file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.data.images import ImageSet
from engine.lesson import html_file as replaying
from engine.lesson.build import lesson
from engine.lesson.bundle import unpacked
from engine.lesson.html_file import page
from engine.presets import preset
from engine.runs.create import create_run
from engine.runs.folder import RunFolder
from engine.runs.history import save_frame, save_xray
from engine.sources.open_source import Opened
from engine.space.neighbors import nearest
from engine.stages.clustering import Clustering
from engine.stages.frames import Frame, Xray
from engine.stages.reliable import select_reliable
from tests.test_command_line import do, refused, run_arguments
from tests.tiny_runs import tiny_config


def bundle_in(html: str) -> dict[str, Any]:
    """The bundle that a browser reads from the page."""
    found = re.search(r'<script id="bundle" type="application/json">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_file_holds_the_lesson_and_the_whole_player(photos: Path, tmp_path: Path) -> None:
    assert do(*run_arguments(photos, tmp_path / "run")).code == 0
    file = tmp_path / "lesson.html"
    done = do("replay", str(tmp_path / "run"), "--out", str(file))
    assert done.code == 0
    html = file.read_text("utf-8")
    assert done.err.splitlines()[-1] == f"{len(html.encode()) / 1e3:.1f} kB in {file}"
    assert bundle_in(html) == json.loads(json.dumps(lesson(RunFolder(tmp_path / "run"))))
    assert not any(marker in html for marker in replaying.MARKERS)
    for name in replaying._read("order.txt").split():
        first = replaying._read(name).strip().splitlines()[0]
        assert first in html
    # Nothing is fetched: no URL in the file is one that a browser would load.
    assert not re.findall(r'(?:src|href)="https?:', html)
    assert [one.name for one in tmp_path.iterdir() if "lesson" in one.name] == ["lesson.html"]


def test_trials_are_told_one_by_one_and_enter_the_lesson(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.lesson.failure_trials.EPOCHS", 2)
    run = tmp_path / "run"
    do(*run_arguments(photos, run))
    done = do("trials", str(run))
    assert done.code == 0
    told = [json.loads(line) for line in done.out]
    assert [one["trial"] for one in told] == ["collapse", "temperatures", "head", "unbalanced", ""]
    assert told[-1]["done"] == 1
    play = lesson(RunFolder(run))["steps"][2]["play"]
    assert [unpacked(one["points"]).shape for one in play["results"]] == [(40, 2)] * 3


def test_a_run_without_stage_1_is_refused_and_no_file_is_left(tmp_path: Path) -> None:
    images = ImageSet(np.zeros((20, 1, 8, 8), np.uint8), tuple(map(str, range(20))), "drawn")
    create_run(tmp_path / "new", Opened(images), tiny_config())
    file = tmp_path / "lesson.html"
    said = refused("replay", str(tmp_path / "new"), "--out", str(file))
    assert said.endswith("has no features yet: train until stage 1 is done")
    assert refused("trials", str(tmp_path / "new")).endswith("train until stage 1 is done")
    assert "contains no run" in refused("replay", str(tmp_path / "nowhere"), "--out", str(file))
    assert not file.exists()


def test_names_cannot_end_the_script_they_stand_in() -> None:
    bundle = {"names": ["</script><script>alert(1)</script>", "<!--", "/*PLAYER.JS*/", "é"]}
    html = page(bundle)
    assert bundle_in(html) == bundle
    assert "alert(1)</script>" not in html
    assert html.count("/*PLAYER.JS*/") == 1


def test_scripts_and_style_cannot_end_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "ASSETS", tmp_path)
    (tmp_path / "order.txt").write_text("b.js\na.js\n")
    (tmp_path / "a.js").write_text("const a = '</SCRIPT>';")
    (tmp_path / "b.js").write_text("const b = '<!-- /*BUNDLE*/';")
    (tmp_path / "player.css").write_text("p { color: red }")
    (tmp_path / "page.html").write_text("<style>/*PLAYER.CSS*/</style>/*BUNDLE*/<script>/*PLAYER.JS*/")
    assert page({"a": 1}) == (
        "<style>p { color: red }</style>{\"a\":1}<script>const b = '\\x3c!-- /*BUNDLE*/';\nconst a = '\\x3c/SCRIPT>';"
    )
    (tmp_path / "a.js").unlink()
    with pytest.raises(replaying.RunError, match=r"a\.js cannot be read"):
        page({})


N, K, D, SIDE = 2000, 10, 16, 64


def noise(*shape: int) -> np.ndarray:
    """Noise, which compresses worst."""
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def made_up(path: Path) -> RunFolder:
    """A finished run of 2,000 photographs as stored on disk, without training."""
    images = ImageSet(noise(N, 3, SIDE, SIDE), tuple(f"photos/holiday-{n:04d}.jpg" for n in range(N)), "folder:photos")
    config = preset("quick", clusters=K, channels=3)
    folder, rng = create_run(path, Opened(images), config), np.random.default_rng(0)
    vectors = rng.normal(0, 1, (N, D)).astype(np.float32)
    near = nearest(vectors, 30)
    belief = rng.dirichlet([0.1] * K, N).astype(np.float32)
    clustering = Clustering(belief)
    found = select_reliable(clustering, near, config.reliable)
    order = np.argsort(-belief, axis=0).T
    folder.save("features", {"vectors": vectors, "labels": clustering.labels})
    folder.save("neighbors", {"ids": near.ids, "similarity": near.similarity})
    folder.save(
        "heads",
        {
            "probabilities": belief,
            "chosen": np.array(0),
            "confident": order[:, :160],
            "nearest": order[:, :200],
            "prototypes": vectors[:K],
        },
    )
    folder.save("reliable-heads", dict(vars(found)))
    folder.save("joint", {"probabilities": belief})
    labels = clustering.labels[None].astype(np.uint16)
    sure = clustering.confidence[None].astype(np.float16)
    for step in range(9):
        moved = rng.normal(0, 1, (N, D)).astype(np.float16)
        save_frame(folder, Frame("features", step, moved))
        surest = order[None, :, :16].astype(np.int32)
        save_frame(folder, Frame("heads", step, None, labels, sure, vectors[None, :K], surest))
        save_frame(folder, Frame("joint", step, moved, labels, sure))
        seen = noise(48, 3, SIDE, SIDE)
        numbers = np.zeros(48, np.float32)
        save_xray(folder, Xray(step, np.arange(48), seen, seen, belief[:48], numbers, numbers))
    return folder


def test_two_thousand_photographs_take_less_than_15_mb(tmp_path: Path) -> None:
    folder, file = made_up(tmp_path / "run"), tmp_path / "lesson.html"
    done = do("replay", str(folder.path), "--out", str(file))
    assert (done.code, done.errors) == (0, [])
    assert 1e6 < file.stat().st_size < 15e6
    found = bundle_in(file.read_text("utf-8"))
    assert len(unpacked(found["ids"])) == found["of"] == N
    assert len(found["frames"]) == 27
    assert not [one["key"] for one in found["steps"] if one["needs"]]
