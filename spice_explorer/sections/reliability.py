"""The Reliability page's parts: the chart, and everything that depends on its thresholds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from engine.config import ReliableSettings
from engine.errors import SpiceError
from engine.events import Stage
from engine.shares import percent
from engine.terms import EXPLANATIONS, REASONS
from spice_explorer import session
from spice_explorer.components import gallery, plane
from spice_explorer.components.gallery import Action
from spice_explorer.palette import CLUSTERS, STATES, VERDICTS
from spice_explorer.present import reliability as present
from spice_explorer.present.reliability import Split, Thresholds
from spice_explorer.queries import artefacts, decisions, runs, training
from spice_explorer.queries.runs import Run
from spice_explorer.sections import panel, purity
from spice_explorer.web import columns

if TYPE_CHECKING:
    from engine.runs.folder import RunFolder
    from engine.stages.reliable import ReliableSet
    from spice_explorer.present.names import Names

STAGES: dict[Stage, str] = {"joint": "stage 3 · the final labels", "heads": "stage 2 · used to train stage 3"}
ACTIONS = (Action("select", "Add to selection"), Action("only", "Select only these"))
POLL_SECONDS = 2.0
# In the address.
PARAMETERS = ("t", "stage", "reason", "cluster")
REASON_NAMES = ("reliable", "disagree", "unsure", "neither")
# More clusters than this are counted, not named.
MOST_NAMED = 8
# In the list of clusters: no filter.
ALL = "all"


def show(look: Run) -> None:
    """The page; while the run trains it also waits for stage 3's labels."""
    st.fragment(_inspector)(look)
    if look.live:
        stages = artefacts.judged_stages(look.folder)
        st.fragment(_until_more, run_every=POLL_SECONDS)(look.folder, stages)


def _until_more(run: RunFolder, stages: list[Stage]) -> None:
    with session.plain_errors():
        if artefacts.judged_stages(run) != stages or not runs.look(run).live:
            st.rerun()


def _inspector(look: Run) -> None:
    """Reruns alone when something on the page is changed."""
    run = look.folder
    with session.plain_errors():
        view = _view(run)
        settings = _settings(run, view.thresholds)
        verdict = artefacts.judge(run, view.stage, settings)
        truth = artefacts.truth(run)
        found = present.split(verdict.labels, verdict.verdicts, None if truth is None else truth.labels)
        _stages(run)
        _instrument(run, view, found)
        with st.container(horizontal=True, vertical_alignment="center", key="below the instrument"):
            estimate = purity.show(run, view.stage, verdict)
            _train(look, view, settings)
        purity.against_truth(run, view.stage, settings, verdict, found, estimate)
        _galleries(run, view, verdict)
        _keep(run, view)
        panel.show(
            run,
            stage=view.stage,
            judged=verdict,
            count=view.thresholds.neighbors,
            confidence=view.thresholds.confidence,
        )


# -- the state of the page ---------------------------------------------------------------------


@dataclass(frozen=True)
class View:
    """The state of the page for a run; kept while other pages are visited, and in the URL."""

    stage: Stage
    thresholds: Thresholds
    reason: int = 1
    cluster: int | None = None


def _view(run: RunFolder) -> View:
    """The previous state, updated with requests since: from a link, a widget or the chart."""
    stages, most = artefacts.judged_stages(run), _most_neighbors(run)
    view: View = st.session_state.get(f"reliability-{run.name}") or _first(run)
    view = _linked(_chosen(view, run), run, stages, most)
    key = _instrument_key(run)
    moved, pick = plane.asked(key, "thresholds"), plane.asked(key, "pick") or {}
    if moved:
        values = [moved.get(name) for name in asdict(view.thresholds)]
        view = replace(view, thresholds=present.thresholds_of(values, most) or view.thresholds)
    if "cluster" in pick:
        view = replace(view, cluster=pick["cluster"])
    if "reason" in pick:
        view = replace(view, reason=pick["reason"])
    # The run may have been recreated under its name since.
    if view.stage not in stages or view.thresholds.neighbors > most:
        view = replace(_first(run), reason=view.reason)
    if view.cluster not in (None, *range(run.card().config.clusters)):
        view = replace(view, cluster=None)
    _show_in_widgets(view, run)
    return view


def _chosen(view: View, run: RunFolder) -> View:
    """`view` with the widgets' values; the widgets do not exist if another page was visited meanwhile."""
    state = st.session_state
    if _key("stage", run) not in state:
        return view
    cluster = state[_key("cluster", run)]
    return replace(
        view,
        stage=state[_key("stage", run)],
        reason=state[_key("reason", run)],
        cluster=None if cluster == ALL else cluster,
    )


def _show_in_widgets(view: View, run: RunFolder) -> None:
    cluster = ALL if view.cluster is None else view.cluster
    for what, value in (("stage", view.stage), ("reason", view.reason), ("cluster", cluster)):
        st.session_state[_key(what, run)] = value


def _key(what: str, run: RunFolder) -> str:
    return f"reliability {what}-{run.name}"


def _first(run: RunFolder) -> View:
    return View(artefacts.judged_stages(run)[0], _own(run))


def _own(run: RunFolder) -> Thresholds:
    """The thresholds that the run itself was judged by."""
    own = run.card().config.reliable
    return Thresholds(own.agreement, own.confidence, artefacts.neighbor_count(run), own.floor)


def _most_neighbors(run: RunFolder) -> int:
    return int(artefacts.arrays(run, "neighbors")["ids"].shape[1])


def _settings(run: RunFolder, asked: Thresholds) -> ReliableSettings:
    own = run.card().config.reliable
    usual = asked.neighbors == artefacts.neighbor_count(run)
    return replace(
        own,
        agreement=asked.agreement,
        confidence=asked.confidence,
        floor=asked.floor,
        neighbors=own.neighbors if usual else asked.neighbors,
    )


def _linked(view: View, run: RunFolder, stages: list[Stage], most: int) -> View:
    """`view` with the URL's parameters, on first use; invalid values are ignored.

    The browser may send an address that is a moment old, so what this page has written itself is no
    link.
    """
    found = tuple(st.query_params.get(name) for name in PARAMETERS)
    seen: set[tuple[str | None, ...]] = st.session_state.setdefault("reliability links", set())
    if found in seen or not any(found):
        return view
    seen.add(found)
    text, stage, reason, cluster = (value or "" for value in found)
    asked = present.thresholds_of(text.split(","), most)
    if asked is not None:
        view = replace(view, thresholds=asked)
        version = f"thresholds version-{run.name}"
        st.session_state[version] = st.session_state.get(version, 0) + 1
    if stage in stages:
        view = replace(view, stage=next(one for one in stages if one == stage))
    if reason in REASON_NAMES:
        view = replace(view, reason=REASON_NAMES.index(reason))
    if cluster.isdecimal() and len(cluster) < 8:
        view = replace(view, cluster=int(cluster))
    return view


def _keep(run: RunFolder, view: View) -> None:
    """For the next time on this page, and as an address that opens the same view again."""
    st.session_state[f"reliability-{run.name}"] = view
    first = _first(run)
    wanted = {
        "t": view.thresholds.text() if view.thresholds != first.thresholds else None,
        "stage": view.stage if view.stage != first.stage else None,
        "reason": REASON_NAMES[view.reason] if view.reason != first.reason else None,
        "cluster": None if view.cluster is None else str(view.cluster),
    }
    st.session_state["reliability links"].add(tuple(wanted[name] for name in PARAMETERS))
    for name, value in wanted.items():
        if value is None:
            st.query_params.pop(name, None)
        elif st.query_params.get(name) != value:
            st.query_params[name] = value


# -- the instrument ----------------------------------------------------------------------------


def _stages(run: RunFolder) -> None:
    st.segmented_control(
        "Labels of",
        artefacts.judged_stages(run),
        required=True,
        key=_key("stage", run),
        format_func=STAGES.__getitem__,
        label_visibility="collapsed",
    )


def _instrument_key(run: RunFolder) -> str:
    return f"plane-{run.name.replace('__', '-')}"


def _instrument(run: RunFolder, view: View, found: Split) -> None:
    own, at = artefacts.reliable(run, view.stage), columns.Addresses(run).at
    data: dict[str, Any] = {
        "labels": at(f"label.{view.stage}", "u2"),
        "confidence": at(f"confidence.{view.stage}", "f4"),
        "agreed": at(f"agreed.{view.stage}.COUNT", "u2"),
        "images": found.images,
        "clusters": run.card().config.clusters,
        "most": _most_neighbors(run),
        "mostNines": present.MOST_NINES,
        "own": asdict(_own(run)),
        "ownCounts": present.split(own.labels, own.verdicts).by_reason,
        "asked": asdict(view.thresholds),
        "version": st.session_state.get(f"thresholds version-{run.name}", 0),
        "engine": {"thresholds": asdict(view.thresholds), "counts": found.by_reason},
        "reasons": REASONS,
        "explanations": EXPLANATIONS,
        "colours": VERDICTS,
        "clusterColours": CLUSTERS,
        "names": decisions.cluster_names(run),
        "bad": STATES["failed"],
        "reason": view.reason,
        "cluster": view.cluster,
    }
    plane.plane(data, key=_instrument_key(run))


# -- training from here ------------------------------------------------------------------------


def _train(look: Run, view: View, settings: ReliableSettings) -> None:
    """A button that says what it will do before it does it."""
    run = look.folder
    teachers = artefacts.teachers(run, "heads", settings)
    taught = teachers.per_cluster
    nobody = not taught.any()
    reason = "No label of stage 2 is reliable under these thresholds: lower one of them first."
    relaxed = int(teachers.relaxed(settings.agreement, artefacts.fixed(run)).sum())
    if run.lacks_adapter:
        st.caption(
            "An earlier version trained this run, without stage 3: start a new run on the same vectors to train it."
        )
        return
    with st.popover(
        "Train stage 3 from these thresholds",
        icon=":material/model_training:",
        disabled=nobody,
        help=reason if nobody else None,
    ):
        asked = view.thresholds
        st.markdown(
            f"Starts a new run from stage 2 of **{session.plain(run.name)}** with "
            f"agreement ≥ {asked.agreement:g}, confidence ≥ {asked.confidence:g}, {asked.neighbors} "
            f"neighbours, {_floor(asked.floor)}: **{int(taught.sum()):,} images** are trained on. This run is not "
            "modified."
        )
        if relaxed:
            words = present.relaxed_words(settings.floor, float(teachers.thresholds.min()))
            st.caption(f"{relaxed:,} of them are not reliable: {words}.")
        if settings == run.card().config.reliable:
            st.caption("These are the run's own thresholds: the new run would repeat it.")
        _without_teacher(np.flatnonzero(taught == 0), decisions.names(run))
        started = st.button("Start the new run", type="primary", key="train from here")
    if nobody:
        st.caption(reason)
    elif started:
        _start(run, settings)


def _floor(share: float) -> str:
    return f"every cluster keeping {percent(share)}" if share else "no floor"


def _without_teacher(clusters: np.ndarray, called: Names) -> None:
    if not len(clusters):
        return
    named = session.plain(", ".join(called.short(one) for one in clusters[:MOST_NAMED].tolist()))
    more = f" and {len(clusters) - MOST_NAMED:,} more" if len(clusters) > MOST_NAMED else ""
    what, its = ("Cluster", "its") if len(clusters) == 1 else ("Clusters", "their")
    st.warning(
        f"{what} {named}{more} would have no reliable images and may lose all {its} images in stage 3.",
        icon=":material/warning:",
    )


def _start(run: RunFolder, settings: ReliableSettings) -> None:
    try:
        name = training.continue_from(run, replace(run.card().config, reliable=settings))
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return
    session.watch_run(name)
    st.switch_page("../pages/train.py")


# -- the images --------------------------------------------------------------------------------


def _galleries(run: RunFolder, view: View, verdict: ReliableSet) -> None:
    among = np.ones(len(verdict.labels), bool)
    if view.cluster is not None:
        among = verdict.labels == view.cluster
    selected = session.selection(run)
    with st.container(horizontal=True, vertical_alignment="bottom", key="gallery controls"):
        place = st.empty()
        clusters, called = [ALL, *range(run.card().config.clusters)], decisions.names(run)
        words = {one: one if one == ALL else called.short(one) for one in clusters}
        st.selectbox("Cluster", clusters, key=_key("cluster", run), width=160, format_func=words.__getitem__)
        if len(selected) and st.checkbox(f"Only the {len(selected):,} selected", key="only selected"):
            among = among & np.isin(np.arange(len(among)), selected)
        counts = np.bincount(verdict.verdicts[among], minlength=len(REASONS))
        place.segmented_control(
            "Images",
            range(len(REASONS)),
            required=True,
            key=_key("reason", run),
            format_func=lambda one: f"{REASONS[one].capitalize()} ({counts[one]:,})",
        )
    ids = present.order(
        np.flatnonzero(among & (verdict.verdicts == view.reason)),
        verdict.agreement,
        verdict.confidence,
        doubtful_first=view.reason != 0,
    )
    st.caption(
        f"{EXPLANATIONS[view.reason]} {'Surest' if view.reason == 0 else 'Most doubtful'} "
        "first; under each: cluster · confidence · agreement."
    )
    known = replace(decisions.known(run, view.stage), agreement=verdict.agreement)
    asked = gallery.gallery(
        run, known, ids, key="reliability", actions=ACTIONS, nothing="No image has this verdict here."
    )
    if asked is not None:
        kept = selected if asked.action == "select" else np.zeros(0, np.int64)
        session.select_anew(run, np.union1d(kept, asked.ids))
        # The sidebar, outside of this fragment, shows how many are selected.
        st.rerun()
