"""What is read from a run folder is kept until the run, or what was read of it, has another time."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

import streamlit as st

from spice_explorer.queries.runs import folder_of, made

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder

# The name of an artefact, or whatever else of a run tells an old answer from a new one.
Mark = str | Callable[["RunFolder"], Hashable]
Query = TypeVar("Query", bound=Callable[..., Any])


def cached(*marks: Mark, entries: int = 8) -> Callable[[Query], Query]:
    """Caches a function of a run's name, and of whatever else it takes, for all sessions.

    Args:
        marks: artefacts whose time counts, or functions of the run folder. When the run itself was made
            always counts: another run may have its name.
        entries: answers that are kept; the oldest go first.
    """

    def decorate(query: Query) -> Query:
        def answer(place: str, times: tuple[Hashable, ...], *asked: Any) -> Any:
            del place, times  # of the cache's key alone
            return query(*asked)

        # By these two, Streamlit tells one cache from another.
        answer.__module__, answer.__qualname__ = query.__module__, query.__qualname__
        keep = st.cache_resource(show_spinner=False, max_entries=entries)(answer)

        @wraps(query)
        def ask(name: str, *asked: Any) -> Any:
            folder = folder_of(name)
            return keep(str(folder.path), (made(folder), *(_time(folder, one) for one in marks)), name, *asked)

        return cast(Query, ask)

    return decorate


def _time(folder: RunFolder, mark: Mark) -> Hashable:
    return folder.modified(mark) if isinstance(mark, str) else mark(folder)
