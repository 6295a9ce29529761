"""The Export page's part for other tools: images and labels in a format of theirs, written in the background."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import streamlit as st

from engine.exports.export import Asked, Hash
from engine.exports.format import Format, known_formats
from engine.exports.pictures import How, Which
from engine.sources.open_source import absolute
from spice_explorer import session
from spice_explorer.present import export as present
from spice_explorer.queries import decisions, exports
from spice_explorer.sections import background

if TYPE_CHECKING:
    import pandas as pd

    from engine.exports.export import Exported
    from engine.runs.folder import RunFolder

USUAL = "folders"


def show(run: RunFolder, table: pd.DataFrame) -> None:
    """What to export and where, or how that is coming along."""
    st.subheader("For other tools")
    if background.underway(exports.making, run, present.export_progress):
        return
    background.ended(exports.making, run, _done, lambda made: background.download_of(exports.making, made.out))
    _form(run, table)


def _form(run: RunFolder, table: pd.DataFrame) -> None:
    titles = exports.formats()
    first, second = st.columns(2)
    with first:
        name = (
            st.selectbox(
                "Format", list(titles), list(titles).index(USUAL), format_func=titles.__getitem__, key="tool format"
            )
            or USUAL
        )
        form = known_formats()[name]
        st.markdown(form.writes)
    with second:
        scope = _scope(run, table)
    asked = _options(run, form, scope)
    if st.button("Export", type="primary", icon=":material/drive_folder_upload:", key="export"):
        with session.plain_errors():
            exports.begin(run, asked)
            st.rerun()


def _scope(run: RunFolder, table: pd.DataFrame) -> str:
    named = [one.name for one in decisions.classes(run)]
    decided = "decision" in table and bool((table["decision"] == "decided").any())
    offered = present.scopes(named, len(session.selection(run)), decided)
    chosen = st.selectbox("Images", list(offered), format_func=lambda one: offered.get(one, one), key="tool scope")
    return chosen or "all"


def _options(run: RunFolder, form: Format, scope: str) -> Asked:
    how: How = "copy"
    either = False
    with st.container(horizontal=True, vertical_alignment="bottom", key="tool options"):
        split = st.selectbox(
            "Split",
            list(present.SPLITS),
            format_func=present.SPLITS.__getitem__,
            key="tool split",
            help="Each class is split in these shares; duplicates and near duplicates stay together.",
        )
        if "how" in form.options:
            how = st.segmented_control(
                "Originals as",
                list(get_args(How)),
                default="copy",
                required=True,
                format_func=present.HOW.__getitem__,
                key="tool how",
                help=present.LINKS,
            )
        if form.pictures:
            either = st.checkbox(
                "Pixels for originals that are gone",
                key="tool pictures",
                help="Where an original is gone, the pixels that were trained on are exported.",
            )
        hashed = st.checkbox("Also hash the originals' bytes", key="tool hash", help=present.HASH)
    place = exports.default_place(run, form.name)
    typed = st.text_input(
        "File to write" if form.ending else "Folder to make", str(place), key=f"tool place {form.name}"
    )
    out = Path(absolute(typed))
    replace = out.exists() and st.checkbox("Replace the earlier export at this place", key="tool overwrite")
    chosen = tuple(session.selection(run).tolist()) if scope == "selection" else ()
    pictures: Which = "either" if either else "originals"
    about: Hash = "original" if hashed else "pixels"
    return Asked(form.name, out, scope, chosen, split or "", how, pictures, about, overwrite=bool(replace))


def _done(done: Exported) -> None:
    st.success(session.plain(present.done_words(done)), icon=":material/check:")
    for note in done.notes:
        st.info(session.sentence(f"{note}."), icon=":material/info:")
    st.code(str(done.out), language=None)
