"""The ways to train on photographs: what each takes here, what it downloads, and what its network learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.forecast.forecast import duration
from engine.networks.origins import TAUGHT, Proposed
from engine.runs.kept_forecast import Forecast

NOT_MEASURED = "not measured"
HEAD = ("", "Time here", "Download", "What its network learned from")
# Measured: benchmarks/results/cifar10-cpu.md.
FROM_SCRATCH = (
    "All others train a network from scratch, on these images alone, which takes a GPU: without one, after 75 seconds "
    "on two CPU cores, 22\N{NO-BREAK SPACE}% of CIFAR-10's test photographs were in the right one of ten clusters."
)


@dataclass(frozen=True)
class Choice:
    """One way to train.

    Attributes:
        title: of its preset, plain text.
        network: the trained network that it begins with; None where it begins with random weights.
        on_disk: whether that network is here already.
        forecast: None if nothing like it was measured here.
        chosen: whether the form shows it now.
    """

    title: str
    network: Proposed | None
    on_disk: bool
    forecast: Forecast | None
    chosen: bool


def rows(choices: Sequence[Choice]) -> list[tuple[str, ...]]:
    """The head of the table, and a row for each choice, plain text."""
    return [HEAD, *(_row(one) for one in choices)]


def _row(one: Choice) -> tuple[str, ...]:
    title = f"▸ {one.title}" if one.chosen else one.title
    return title, _time(one.forecast), download(one.network, on_disk=one.on_disk), learned(one.network)


def _time(found: Forecast | None) -> str:
    return (
        NOT_MEASURED if found is None else f"{duration(found.total)} ({duration(found.low)} to {duration(found.high)})"
    )


def download(network: Proposed | None, *, on_disk: bool) -> str:
    """ "88 MB, once" or why there is nothing to download."""
    if network is None:
        return "nothing"
    return "nothing: it is on this machine" if on_disk else f"{network.megabytes:.0f} MB, once"


def learned(network: Proposed | None) -> str:
    """What the network of a choice was trained on, whether with labels, and its licence."""
    if network is None:
        return "these images only"
    origin = network.origin
    return f"{origin.title}: {origin.data}, {TAUGHT[origin.labels]}; licence {origin.licence}"


def option(network: Proposed) -> str:
    """A network as one choice among several."""
    return f"{network.origin.title} ({network.megabytes:.0f} MB): {network.purpose}"
