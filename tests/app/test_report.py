"""The report on the Export page."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from engine.curate.decisions import Decision
from engine.errors import RunError, sized
from engine.jobs import Job
from engine.report.contents import PARTS
from engine.report.report import write_report
from engine.runs.folder import RunFolder
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, reports
from tests.app.conftest import Visit, button, demo, texts, until
from tests.report.made import page


@pytest.fixture(autouse=True)
def _no_earlier_report(workspace: Path) -> None:
    """Every test has the run of the same name at a place of its own."""
    for name in ("demo", "halfway"):
        reports.making.dismiss(RunFolder(workspace / name))


def downloads(at: AppTest) -> list[str]:
    return [one.proto.label for one in at.get("download_button")]


def test_the_page_makes_the_report_and_says_when_it_is_outdated(finished: RunFolder, visit: Visit) -> None:
    at = visit("export", run=finished.name)
    assert "without a network and without this app" in texts(at)
    assert "Download the report" not in downloads(at)
    button(at, "Make the report").click().run()
    until(at, lambda at: "Download the report" in downloads(at))
    (told,) = [one.value for one in at.success]
    job = reports.making.job(demo())
    assert job is not None
    assert told.endswith(f" UTC, {sized(len(job.result.content))}.")
    assert present.OUTDATED not in texts(at)
    decisions.commit(demo(), [Decision("rename", "Ann", class_=1, text="ones")])
    assert present.OUTDATED in texts(at.run())


def test_it_is_that_of_the_command_line_with_the_newest_decisions(finished: RunFolder) -> None:
    decisions.commit(demo(), [Decision("rename", "Ann", class_=1, text="ones")])
    reports.begin(demo())
    made = ended_report().result.content.decode()
    assert ">ones</span>" in made
    assert _timeless(made) == _timeless(page(finished))


def ended_report() -> Job:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        job = reports.making.job(demo())
        assert job is not None
        if not job.underway:
            return job
        time.sleep(0.02)
    raise AssertionError("the report is not done")


def test_it_can_be_cancelled(visit: Visit, finished: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(reports.making, "job", lambda _run: Job("map", 0.4, 1))
    monkeypatch.setattr(reports.making, "cancel", lambda run: told.append(run.name))
    at = visit("export", run=finished.name)
    assert "Make the report" not in [one.label for one in at.button]
    button(at, "Cancel").click().run()
    assert told == ["demo"]
    assert present.report_progress(Job("map", 0.4, 1)) == (0.4, "Drawing the map…")
    assert list(present.PARTS)[:-1] == list(PARTS)


def test_after_stage_1_alone_the_page_offers_a_report_of_its_clusters(finished: RunFolder, visit: Visit) -> None:
    for artefact in ("heads", "reliable-heads", "joint", "reliable-joint"):
        shutil.rmtree(finished.path / artefact)
    at = visit("export", run="demo")
    assert "has not reached this stage" in texts(at)
    assert present.UNJUDGED in texts(at)
    button(at, "Make the report").click().run()
    until(at, lambda at: "Download the report" in downloads(at))
    job = reports.making.job(demo())
    assert job is not None
    assert "Nothing has judged their labels yet" in job.result.content.decode()
    assert not at.get("file_uploader"), "there is no model that could say what an image is"


def test_before_that_the_page_says_what_the_command_says(interrupted: RunFolder, visit: Visit, tmp_path: Path) -> None:
    at = visit("export", run=interrupted.name)
    with pytest.raises(RunError) as refused:
        write_report(interrupted, tmp_path / "r.html")
    assert str(refused.value) == f"{interrupted.path} has nothing to report yet: train until stage 1 is done"
    assert f"{refused.value}." in [one.value.replace("\\", "") for one in at.info]
    assert "Make the report" not in [one.label for one in at.button]


def _timeless(made: str) -> str:
    return re.sub(r"\d\d:\d\d UTC", "", made)
