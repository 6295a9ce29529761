"""`streamlit run spice_explorer/app.py`: navigation, and nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from spice_explorer import lifecycle, session
from spice_explorer.queries import runs
from spice_explorer.sections import chrome
from spice_explorer.web import routes

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ("dataset", "Dataset", ":material/photo_library:"),
    ("train", "Train", ":material/model_training:"),
    ("map", "Map", ":material/scatter_plot:"),
    ("prototypes", "Prototypes", ":material/category:"),
    ("reliability", "Reliability", ":material/verified:"),
    ("curate", "Curate", ":material/rule:"),
    ("export", "Export", ":material/download:"),
    ("learn", "Learn", ":material/school:"),
)


def ui() -> None:
    st.set_page_config(page_title="SPICE Explorer", page_icon=str(ROOT / "assets" / "icon.png"), layout="wide")
    pages = [
        st.Page(ROOT / "pages" / f"{name}.py", title=title, icon=icon, url_path=name) for name, title, icon in PAGES
    ]
    page = st.navigation(pages)
    session.restore()
    chrome.style()
    with st.sidebar, session.plain_errors():
        chrome.sidebar()
    page.run()


@contextlib.asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    lifecycle.tidy_up(runs.workspace())
    lifecycle.warm_up()
    yield
    lifecycle.stop_everything()


if get_script_run_ctx(suppress_warning=True) is None:
    app = st.App(__file__, lifespan=lifespan, **routes.options())
else:
    ui()
