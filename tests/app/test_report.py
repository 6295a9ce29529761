"""The report on the Export page."""

from __future__ import annotations

import re

from engine.curate.decisions import Decision
from engine.runs.folder import RunFolder
from spice_explorer.queries import decisions, reports
from spice_explorer.sections.report import WORDS
from tests.app.conftest import Visit, demo, texts
from tests.report.made import page


def test_the_page_offers_the_report(finished: RunFolder, visit: Visit) -> None:
    at = visit("export", run=finished.name)
    assert "Download the report" in [one.proto.label for one in at.get("download_button")]
    assert WORDS in texts(at)


def test_it_is_that_of_the_command_line_with_the_newest_decisions(finished: RunFolder) -> None:
    decisions.commit(demo(), [Decision("rename", "Ann", class_=1, text="ones")])
    made = reports.file(demo()).decode()
    assert ">ones</span>" in made
    assert _timeless(made) == _timeless(page(finished))


def _timeless(made: str) -> str:
    return re.sub(r"\d\d:\d\d UTC", "", made)
