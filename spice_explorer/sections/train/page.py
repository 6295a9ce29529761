"""Watching a run: stages, curves, scores, alarms, and the buttons that control it."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from engine.config import with_settings
from engine.data.skipped import Skipped
from engine.errors import SpiceError
from engine.runs.folder import RunFolder
from engine.runs.snapshot import Snapshot
from spice_explorer import charts, session
from spice_explorer.present import dataset as tables
from spice_explorer.present import progress
from spice_explorer.present.settings import devices
from spice_explorer.queries import artefacts, runs, training
from spice_explorer.queries.runs import Run
from spice_explorer.sections import chrome, needs, scores
from spice_explorer.sections.train import forecast

WATCH, NEW = "watch", "new"
VIEWS = {WATCH: "This run", NEW: "New run"}
LIVE_SECONDS = 1.0


def choose_view() -> str:
    """Whether to watch the chosen run or to start another; a newcomer starts one."""
    if "train view next" in st.session_state:
        st.session_state["train view"] = st.session_state.pop("train view next")
    if session.current_run() is None:
        return NEW
    st.session_state.setdefault("train view", WATCH)
    chosen = st.segmented_control(
        "View",
        list(VIEWS),
        format_func=VIEWS.__getitem__,
        key="train view",
        required=True,
        label_visibility="collapsed",
    )
    return str(chosen)


def watch() -> None:
    """The chosen run, redrawn every second while it is live."""
    run = session.current_run()
    if run is None:
        return
    needs.without_originals(run)
    live = runs.look(run).live
    st.fragment(_watched, run_every=LIVE_SECONDS if live else None)(run, live)
    _left_out(run.card().excluded)


def _left_out(excluded: Sequence[Skipped]) -> None:
    """The images that somebody left out before the run was made, with the reason of each."""
    if not excluded:
        return
    noun = "image was" if len(excluded) == 1 else "images were"
    with st.expander(f"{len(excluded):,} {noun} left out before training", key="excluded"):
        table = tables.skipped_table([(one.name, one.reason) for one in excluded])
        st.dataframe(table, hide_index=True, height=min(320, 38 + 35 * len(table)), key="left out")


def _watched(run: RunFolder, was_live: bool) -> None:
    with session.plain_errors():
        look = runs.look(run)
        if was_live and not look.live:
            st.rerun()
        _head(look)
        forecast.compared(look)
        _stepper(look)
        _alarms(look)
        _charts(look)
        _scores(look)


# -- state and buttons -------------------------------------------------------------------------


def _head(look: Run) -> None:
    snapshot = look.snapshot
    with st.container(horizontal=True, vertical_alignment="center", key="run head"):
        words = html.escape(progress.STATE_WORDS[snapshot.state])
        st.html(
            f"<div class='spice-state'>{chrome.dot(snapshot.state)}<b>{html.escape(look.name)}</b> "
            f"· {words}{_facts(look)}</div>",
            width="stretch",
        )
        _buttons(look)
    if snapshot.state == "failed":
        st.error(session.sentence(snapshot.message), icon=":material/error:")
    if snapshot.state in progress.TRAINING and progress.broken_gpu(snapshot.note):
        st.caption(f":material/info: {session.sentence(snapshot.note)}.")
    for told in [] if look.live else training.damaged(look.folder):
        st.warning(session.sentence(f"{told}."), icon=":material/warning:")
    if snapshot.skipped:
        lost = "A line" if snapshot.skipped == 1 else f"{snapshot.skipped:,} lines"
        st.caption(
            f":material/warning: {lost} of this run's log of events cannot be read. Numbers below may be missing; "
            "labels do not depend on them."
        )
    if snapshot.state in progress.NEXT:
        st.caption(progress.NEXT[snapshot.state])


def _facts(look: Run) -> str:
    snapshot = look.snapshot
    parts = [f"{look.card.images:,} images", f"K = {look.card.config.clusters}"]
    if snapshot.device:
        parts.append(_device(snapshot))
    if snapshot.seconds:
        parts.append(progress.duration(snapshot.seconds))
    view = snapshot.stages[snapshot.stage] if snapshot.stage else None
    if view is not None and view.images_per_second and snapshot.state == "running":
        parts.append(f"{view.images_per_second:,.0f} images/s")
    return "".join(f" · {part}" for part in parts)


def _device(snapshot: Snapshot) -> str:
    """The device; why it is this one shows when the pointer rests on it."""
    name, note = html.escape(snapshot.device), html.escape(snapshot.note)
    return f"<span class='spice-hint' title='{note}'>{name}</span>" if note else name


def _buttons(look: Run) -> None:
    state = look.snapshot.state
    if look.live and not look.mine:
        st.caption("Training in another process: watch only.")
    elif state == "paused":
        _button("Continue", "play_arrow", lambda: training.steer(look.folder, "continue"))
        _button("Stop", "stop", lambda: training.steer(look.folder, "stop"))
    elif state == "queued":  # paused now, it would hold the device when its turn comes
        _button("Stop", "stop", lambda: training.steer(look.folder, "stop"))
    elif look.live:
        _button("Pause", "pause", lambda: training.steer(look.folder, "pause"))
        _button("Stop", "stop", lambda: training.steer(look.folder, "stop"))
    elif state in ("stopped", "failed", "interrupted") or training.damaged(look.folder):
        named = devices(training.gpus())
        device = st.selectbox(
            "Device", named, format_func=named.__getitem__, key="resume device", label_visibility="collapsed", width=190
        )
        _button("Resume", "play_arrow", lambda: training.resume(look.folder, device), primary=True)


def _button(label: str, icon: str, act: Callable[[], None], primary: bool = False) -> None:
    if not st.button(label, key=f"act-{label}", icon=f":material/{icon}:", type="primary" if primary else "secondary"):
        return
    try:
        act()
    except SpiceError as error:
        st.error(session.sentence(str(error)))
        return
    st.rerun()


# -- what happens ------------------------------------------------------------------------------


def _stepper(look: Run) -> None:
    boxes = "".join(_box(step) for step in progress.steps(look.snapshot, look.pace))
    now = progress.now(look.snapshot, look.card.config.features)
    st.html(f"<div class='spice-steps'>{boxes}</div>")
    if now:
        st.html(f"<div class='spice-now'>{html.escape(now)}</div>")


def _box(step: progress.Step) -> str:
    mark = "✓" if step.status == "done" else step.number or "·"
    return (
        f"<div class='spice-step {step.status}'><div class='name'><span class='mark'>{mark}</span>"
        f"{html.escape(step.title)}</div>"
        f"<div class='bar'><i style='width:{100 * step.fraction:.1f}%'></i></div>"
        f"<div class='detail'>{html.escape(step.detail)}</div></div>"
    )


def _alarms(look: Run) -> None:
    for place, alarm in enumerate(look.snapshot.alarms):
        st.warning(
            f"{progress.TITLES[alarm.stage]}: **{session.sentence(alarm.cause)}.** {session.sentence(alarm.cure)}.",
            icon=":material/warning:",
        )
        if alarm.settings and not look.live:
            _cure(look, alarm.settings, place)


def _cure(look: Run, settings: Mapping[str, Any], place: int) -> None:
    """Starts another run from what this one has, with the settings that an alarm names."""
    told = ", ".join(f"{name} = {value}" for name, value in settings.items())
    if not st.button(f"Train again with {told}", key=f"cure-{place}", icon=":material/replay:"):
        return
    try:
        name = training.continue_from(look.folder, with_settings(look.card.config, dict(settings)))
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return
    session.watch_run(name)
    st.rerun()


def _charts(look: Run) -> None:
    begun = [(stage, view) for stage, view in look.snapshot.stages.items() if progress.curves(view)]
    if not begun:
        return
    for (stage, view), column in zip(begun, st.columns(3), strict=False):
        with column:
            curves = progress.curves(view)
            what = next(iter(curves)) if len(curves) == 1 else "losses"
            st.markdown(f"**{progress.TITLES[stage]}** · {what}")
            figure = charts.losses(curves, view.steps)
            charts.draw(figure, f"loss-{stage}", f"Losses of {progress.TITLES[stage]}")
    sizes = progress.sizes_of(look.snapshot)
    if sizes is not None:
        where, images, reliable = sizes
        judged = ", reliable in full colour, rejected pale" if reliable is not None else ""
        st.markdown(f"**Cluster sizes** · {where}{judged}")
        charts.draw(charts.cluster_sizes(images, reliable), "sizes", "Images of each cluster")


def _scores(look: Run) -> None:
    found = progress.label_free(look.snapshot)
    if not found:
        return
    left, right = st.columns(2)
    with left, st.container(border=True, key="label-free"):
        st.markdown("**Scores without labels**")
        scores.table(found)
    truth = progress.against_truth(look.snapshot)
    if truth:
        with right, scores.truth_box("scores"):
            scores.table(truth)
    if look.folder.has("heads"):
        heads = artefacts.arrays(look.folder, "heads")
        with left:
            how = progress.CHOICES[look.card.config.heads.choose]
            st.markdown(f"**Heads** · {how} is chosen, without using labels")
            figure = charts.head_losses(heads["losses"], int(heads["chosen"]))
            charts.draw(figure, "heads", "Loss of each head")
