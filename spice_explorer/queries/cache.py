"""What is read from a run folder is kept until the run, or what was read of it, has another time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import streamlit as st

from spice_explorer.queries.runs import made

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder

# What tells an old answer from a new one: an artefact's name, or a function of what the query takes.
Mark = str | Callable[..., Hashable]
Query = TypeVar("Query", bound=Callable[..., Any])


def cached(*marks: Mark, entries: int = 8, spinner: str | bool = False) -> Callable[[Query], Query]:
    """Caches a function of a run, and of whatever else it takes, for all sessions.

    Args:
        marks: artefacts whose time counts, or functions of the run and the rest. When the run itself was
            made always counts: another run may have its name.
        entries: answers that are kept; the oldest go first.
        spinner: what a page shows meanwhile.

    Raises:
        RunError: by the decorated function, when the run is gone.
    """

    def decorate(query: Query) -> Query:
        def answer(place: str, times: tuple[Hashable, ...], _run: RunFolder, *asked: Any) -> Any:
            del place, times  # of the cache's key alone, as `_run` is not
            return query(_run, *asked)

        # By these two, Streamlit tells one cache from another.
        answer.__module__, answer.__qualname__ = query.__module__, query.__qualname__
        keep = st.cache_resource(show_spinner=spinner, max_entries=entries)(answer)

        @wraps(query)
        def ask(run: RunFolder, *asked: Any) -> Any:
            times = (run.modified(mark) if isinstance(mark, str) else mark(run, *asked) for mark in marks)
            return keep(str(run.path), (made(run), *times), run, *asked)

        return cast(Query, ask)

    return decorate
