"""Scores as small tables; scores against ground truth are always in a separate marked box."""

from __future__ import annotations

import html
from collections.abc import Sequence

import streamlit as st

from spice_explorer.present.progress import StageScores


def table(found: Sequence[StageScores]) -> None:
    """A row a stage, a column a score."""
    names = list(dict.fromkeys(score.name for stage in found for score in stage.scores))
    meanings = {score.name: score.meaning for stage in found for score in stage.scores}
    head = "".join(f"<th title='{html.escape(meanings[name], quote=True)}'>{html.escape(name)}</th>" for name in names)
    rows = "".join(_row(stage, names) for stage in found)
    st.html(f"<table class='spice-scores'><tr><th></th>{head}</tr>{rows}</table>")


def _row(stage: StageScores, names: Sequence[str]) -> str:
    values = {score.name: score.value for score in stage.scores}
    cells = "".join(f"<td>{html.escape(values.get(name, '–'))}</td>" for name in names)
    return f"<tr><td>{html.escape(stage.title)}</td>{cells}</tr>"


def truth_box(key: str, title: str = "Against ground truth") -> st.delta_generator.DeltaGenerator:
    """A dashed box that says its scores were never used in training."""
    box = st.container(border=True, key=f"truth-{key}")
    box.html(f"<div class='spice-truth-note'><b>{html.escape(title)}</b> · never used in training</div>")
    return box
