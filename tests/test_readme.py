"""The README is true: its commands run, and its sources and files exist."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from engine.__main__ import main
from engine.exports.format import known_formats
from engine.lesson import failure_trials
from engine.sources.open_source import open_source

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
FEW_STEPS = (
    "features.epochs=1",
    "heads.epochs=1",
    "heads.heads=2",
    "heads.passes=1",
    "joint.steps=2",
    "reliable.agreement=0.1",
    "reliable.confidence=0.1",
)


def test_the_engine_commands_work_one_after_the_other(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [shlex.split(line)[3:] for line in COMMANDS if line.startswith("python -m engine")]
    kinds = [
        "health",
        "run",
        "run",
        "show",
        "export",
        "forecast",
        "encoder",
        "run",
        "predict",
        "model",
        "model",
        "predict",
        "run",
        "run",
        *["export"] * 10,
        "import-labels",
        "report",
        "trials",
        "replay",
    ]
    assert [words[0] for words in commands] == kinds
    health, mine, digits, show, export, forecast, encoder, seeds, *others = commands
    predict, model, onnx, again, tuned, shapes, *others = others
    exports, back, report, lesson = others[:10], others[10], others[11], others[12:]
    assert photos == tmp_path / "photos"
    monkeypatch.chdir(tmp_path)
    shorter = [word for assignment in FEW_STEPS for word in ("--set", assignment)]

    def told(*command: str) -> dict[str, Any]:
        """The last line that a command prints."""
        capsys.readouterr()
        assert main(list(command)) == 0
        return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))

    shutil.copyfile(photos / "bars" / "01.png", photos / "bars" / "again.png")
    assert main(health) == 0
    assert told(*mine, *shorter)["images"] == 40
    of_digits = told(*digits, *shorter)
    assert told(*show) == of_digits
    assert main(export) == 0
    assert told(*forecast, "--json")["presets"]["quick"]["total"] > 0
    predicted = told(*predict)
    for out in ("labels.csv", "predicted.csv"):
        assert len((tmp_path / out).read_text().splitlines()) == 1 + of_digits["images"]
    assert predicted["truth"]["acc"] == of_digits["truth"]["stage3"]["acc"]
    assert main(encoder) == 0
    assert (tmp_path / "digits-encoder.pt").is_file()
    assert main(model) == 0
    capsys.readouterr()
    assert main(again) == 0
    streamed = capsys.readouterr().out.splitlines()
    assert len(streamed) == of_digits["images"]
    if find_spec("onnx") and find_spec("onnxruntime"):
        assert main(onnx) == 0
        _follow_the_snippet(json.loads(streamed[7]), capsys)
    assert seeds[-2:] == ["--seeds", "0-4"]
    assert told(*seeds[:-1], "0-1", *shorter)["finished"] == 2
    # Without the epochs of stage 1, which the command sets.
    assert told(*tuned, *shorter[2:])["seconds"]["stage1"] < 60
    assert told(*shapes, *shorter)["clusters"] == 4
    for command in exports:
        assert main(command) == 0
        assert (tmp_path / command[command.index("--out") + 1]).exists()
    assert {command[command.index("--format") + 1] for command in [export, *exports]} | {"jsonl"} == set(
        known_formats()
    )
    assert told(*back)["changes"] == 0
    assert main(report) == 0
    assert (tmp_path / "report.html").read_text("utf-8").endswith("</html>\n")
    monkeypatch.setattr(failure_trials, "make_trials", lambda *_, **__: made.append(True))
    made: list[bool] = []
    for command in lesson:
        assert main(command) == 0
    assert made == [True]
    assert (tmp_path / "lesson.html").stat().st_size < 15e6


def _follow_the_snippet(row: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """Executes the README's only snippet of Python on one digit, of which `predict` has given a row."""
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert "engine" not in snippet
    opened = open_source("digits")
    Image.fromarray(opened.images.pixels[opened.images.ids.index(row["path"]), 0]).save("image.png")
    capsys.readouterr()
    exec(compile(snippet, "README.md", "exec"), {})
    said = capsys.readouterr().out
    *name, sure, distance = said.split()
    assert " ".join(name) == ("unknown" if row["unknown"] else row["class"])
    assert float(sure) == pytest.approx(row["confidence"], abs=1e-4)
    assert float(distance) == pytest.approx(row["distance"], abs=1e-4)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("make")])
def test_every_make_command_is_a_target(line: str) -> None:
    done = subprocess.run([*shlex.split(line), "-n"], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 0


def test_the_app_starts_from_the_file_that_is_named() -> None:
    assert "streamlit run spice_explorer/app.py" in COMMANDS
    assert (ROOT / "spice_explorer" / "app.py").is_file()


def test_requirements_and_project_name_the_same_packages() -> None:
    listed = (ROOT / "requirements.txt").read_text().splitlines()
    packages = {line for line in listed if line and not line.startswith(("#", "-"))}
    project = (ROOT / "pyproject.toml").read_text()
    block = re.search(r"^dependencies = \[\n(.*?)^\]", project, re.DOTALL | re.MULTILINE)
    assert block is not None
    assert packages == set(re.findall(r'"(.+?)"', block[1]))
    assert "-e ." in listed
