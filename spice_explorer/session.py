"""The state of one visitor: the chosen run, the selection shared by pages, the opened source."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st
from streamlit import runtime
from streamlit.runtime.scriptrunner import get_script_run_ctx

from engine.errors import SpiceError, device_failed, out_of_memory, sentence_of
from spice_explorer import browsers
from spice_explorer.queries import imports, runs, sources

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder
    from engine.sources.import_job import Asked, ImportJob
    from engine.sources.open_source import Opened

log = logging.getLogger(__name__)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Whatever goes wrong inside becomes a sentence on the page."""
    try:
        yield
    except (SpiceError, OSError) as error:
        st.error(sentence(sentence_of(error, "a page")), icon=":material/error:")
    except Exception as error:
        if out_of_memory(error) or device_failed(error):
            st.error(sentence(sentence_of(error, "a page")), icon=":material/error:")
            return
        log.exception("a page failed")
        st.error(
            f"An unexpected error occurred on this page ({type(error).__name__}: {error}). Your runs are "
            "safe. The server's log has the details for a bug report.",
            icon=":material/error:",
        )


def sentence(text: str) -> str:
    """`text` with a capital, safe from Markdown."""
    return plain(text[:1].upper() + text[1:])


def plain(text: str) -> str:
    """`text` with the characters that Markdown would read taken as they are."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#$~|:" else c for c in text)


def visitor() -> str:
    """This visitor's browser tab, until it is closed or reloaded."""
    context = get_script_run_ctx()
    return "" if context is None else context.session_id


def is_here(visitor: str) -> bool:
    """True while the tab of `visitor` is open."""
    return not runtime.exists() or bool(runtime.get_instance().is_active_session(visitor))


# Under which reviewer's name each visitor looks at a run, and in which browser.
_reviewers: dict[str, dict[str, str]] = {}
_browsers: dict[str, str] = {}


def also_present(run: RunFolder, reviewer: str) -> bool:
    """Notes under which name this visitor decides; True when another browser has the same name in an open tab.

    Tabs of one browser are the same person's.
    """
    seen, own = _reviewers.setdefault(run.name, {}), browsers.current()
    seen[visitor()], _browsers[visitor()] = reviewer, own
    others = [one for one, name in list(seen.items()) if name == reviewer and one != visitor()]
    return any(is_here(one) and not (own and _browsers.get(one) == own) for one in others)


# What a reload brings back, by its name in the session state; a queue in the address is newer.
_LASTING = ("reviewer", "opened", "import", "queue")


def restore() -> None:
    """Begins a new session with what this browser had in its last one."""
    if "restored" in st.session_state:
        return
    st.session_state["restored"] = True
    for what in _LASTING:
        found = browsers.remembered(what)
        if found is not None and what not in st.query_params:
            st.session_state[what] = found
    if (asked := current_import()) is not None:
        _awaited[visitor()] = asked


def keep(what: str, value: object) -> None:
    """Keeps one of the things that a reload brings back."""
    assert what in _LASTING
    st.session_state[what] = value
    browsers.remember(what, value)


# -- the chosen run ----------------------------------------------------------------------------


def current_run() -> RunFolder | None:
    """The run that the pages show: from the address, else the last one chosen, else the newest.

    Also None if the requested run no longer exists, so that the next action does not affect another run.
    """
    wanted = _wanted_run() or runs.newest()
    run = runs.find(wanted)
    if run is not None:
        _keep(wanted)
    return run


def missing_run() -> str | None:
    """The requested run if it does not exist (any more)."""
    wanted = _wanted_run()
    return wanted if wanted and runs.find(wanted) is None else None


def _wanted_run() -> str | None:
    return st.query_params.get("run") or st.session_state.get("run")


def choose_run(name: str) -> None:
    """Shows `name` from now on, on every page and in the address."""
    if st.session_state.get("run") != name:
        clear_selection()
        close_image()
    _keep(name)


def watch_run(name: str) -> None:
    """Shows the run `name`, which was begun just now, also when the Train page is opened next."""
    choose_run(name)
    st.session_state["train view next"] = "watch"


def _keep(name: str) -> None:
    st.session_state["run"] = name
    if st.query_params.get("run") != name:
        st.query_params["run"] = name


# -- the travelling selection ------------------------------------------------------------------


def selection(run: RunFolder) -> np.ndarray:
    """(M,) sorted ids of the images of `run` that are selected."""
    kept = st.session_state.get("selection")
    return kept[1] if kept and kept[0] == run.name else np.zeros(0, np.int64)


def select(run: RunFolder, ids: np.ndarray) -> None:
    st.session_state["selection"] = (run.name, np.asarray(ids, np.int64))


def select_anew(run: RunFolder, ids: np.ndarray) -> None:
    """Changes the selection from outside the components that show it; a new version notifies them."""
    select(run, np.unique(ids))
    st.session_state["selection version"] = selection_version() + 1


def clear_selection() -> None:
    """Clears the selection; a new version notifies the components that show it."""
    st.session_state.pop("selection", None)
    st.session_state["selection version"] = selection_version() + 1


def selection_version() -> int:
    return int(st.session_state.get("selection version", 0))


# -- the image whose panel is open ---------------------------------------------------------------


def open_image(run: RunFolder) -> int | None:
    """The image of `run` whose panel is open: the address names it, or it was opened before."""
    asked = st.query_params.get("image") or st.session_state.get("image", "")
    if not asked.isdecimal() or len(asked) > 12 or int(asked) >= run.card().images:
        return None
    show_image(int(asked))
    return int(asked)


def show_image(index: int) -> None:
    """Opens the panel of an image, on this and every page that follows."""
    st.session_state["image"] = str(index)
    if st.query_params.get("image") != str(index):
        st.query_params["image"] = str(index)


def close_image() -> None:
    st.session_state.pop("image", None)
    st.query_params.pop("image", None)


# -- the opened source -------------------------------------------------------------------------


def opened() -> Opened:
    """The source that a new run will train on: the one opened on the Dataset page, or digits."""
    return st.session_state.get("opened") or sources.digits()


def has_opened() -> bool:
    """True once this visitor has opened a source."""
    return "opened" in st.session_state


def keep_opened(source: Opened) -> None:
    """Chooses `source`, replacing any earlier request."""
    keep("opened", source)
    keep_import(None)


# Which import each visitor waits for.
_awaited: dict[str, Asked] = {}


def current_import() -> Asked | None:
    """The import that this visitor waits for."""
    return st.session_state.get("import")


def keep_import(asked: Asked | None) -> None:
    """Waits only for `asked`; an import that nobody is waiting for is dropped."""
    before = current_import()
    keep("import", asked)
    st.session_state.pop("import ended", None)
    if asked is None:
        _awaited.pop(visitor(), None)
    else:
        _awaited[visitor()] = asked
    others = [one for who, one in list(_awaited.items()) if is_here(who)]
    if before is not None and before not in others:
        imports.drop(before)


def import_ended() -> ImportJob | None:
    """The import that failed, until another source is requested; a cancelled one only once."""
    job = st.session_state.get("import ended")
    if job is not None and job.state == "cancelled":
        del st.session_state["import ended"]
    return job


def end_import(job: ImportJob) -> None:
    """Records that the import this visitor was waiting for failed."""
    keep_import(None)
    st.session_state["import ended"] = job
