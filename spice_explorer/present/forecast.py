"""The forecast and the actual time of a run, as text and table rows."""

from __future__ import annotations

from collections.abc import Mapping

from engine.forecast.forecast import duration, size, warnings_of
from engine.runs.kept_forecast import Forecast
from engine.runs.snapshot import Snapshot

OWN = "These settings"


def rows(found: Mapping[str, Forecast | None]) -> list[tuple[str, ...]]:
    """A head and a row for each forecast by name; one that is None has not been measured."""
    gpu = any(one is not None and one.gpu_memory is not None for one in found.values())
    head = ("", "Time", "Range", "Memory", *(("GPU memory",) if gpu else ()), "Disk")
    return [head, *(_row(name, one, gpu) for name, one in found.items())]


def _row(name: str, one: Forecast | None, gpu: bool) -> tuple[str, ...]:
    if one is None:
        return name, "not measured", "", "", *(("",) if gpu else ()), ""
    between = f"{duration(one.low)} to {duration(one.high)}"
    own = (size(one.gpu_memory or 0),) if gpu else ()
    return name, f"**{duration(one.total)}**", between, size(one.memory), *own, size(one.disk)


def footing(one: Forecast) -> str:
    """What the forecasts hold for."""
    threads = "1 thread" if one.threads == 1 else f"{one.threads} threads"
    return f"On {one.device} with {threads}, if it is otherwise idle; from a measurement of a few seconds."


def warnings(found: Mapping[str, Forecast | None], free: int | None) -> list[str]:
    """What speaks against starting each, in sentences that begin with its name."""
    return [
        f"{'A run with these settings' if name == OWN else name} {told}"
        for name, one in found.items()
        if one is not None
        for told in warnings_of(one, free)
    ]


def compared(snapshot: Snapshot, found: Forecast) -> str:
    """The actual time of the run, next to the forecast."""
    said = f"forecast {duration(found.total)} ({duration(found.low)} to {duration(found.high)})"
    if snapshot.state == "finished":
        return f"Took {duration(snapshot.seconds)}, {said}."
    if snapshot.seconds:
        return f"So far {duration(snapshot.seconds)}, {said}."
    return f"{said[0].upper()}{said[1:]}."
