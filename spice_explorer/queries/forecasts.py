"""What a run would take here: probes in the background, one at a time, and what they have found.

A probe belongs to images of one number and size on one device. It never runs beside a training run on
that device: each would slow the other down, and the forecast would be wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from engine.config import RunConfig
from engine.errors import Stopped
from engine.forecast.forecast import Costs, forecast
from engine.jobs import ENDED, Job, Jobs, Task
from engine.runs.folder import RunFolder
from engine.runs.kept_forecast import Forecast, save_forecast
from engine.runs.runner import choose_device, the_runner
from spice_explorer.queries.runs import workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from engine.sources.open_source import Opened


@dataclass(eq=False)
class Probe:
    """What is known of the costs of one kind of images on one device.

    Attributes:
        asked: the settings whose steps are, or were last, measured.
        free: bytes of memory that were free before it, None where the system does not say.
    """

    asked: tuple[RunConfig, ...] = ()
    free: int | None = None
    costs: list[Costs] = field(default_factory=list)

    @property
    def state(self) -> str:
        """ "new", "probing", "done", "failed", or "busy" where it gave way to a run."""
        return "busy" if self._job.state == "cancelled" else self._job.state

    @property
    def done(self) -> float:
        """The share of a probe at work."""
        return self._job.done

    @property
    def message(self) -> str:
        return self._job.message

    @property
    def _job(self) -> Job:
        return _measuring.look(self) or Job("new")

    def of(self, config: RunConfig) -> Forecast | None:
        """The forecast of a run with `config`; None where its steps have not been measured."""
        fitting = [one for one in self.costs if one.fit(config)]
        return forecast(config, fitting[-1]) if fitting else None


_probes: dict[tuple[object, ...], Probe] = {}
# One probe at a time: two would measure each other.
_measuring = Jobs[Probe, Job]("spice-forecast", Job("probing"), at_once=1)


def probe_of(opened: Opened, device: str) -> Probe:
    """What has been measured for such images on the device called `device`."""
    images = opened.images
    extra = 0 if opened.extra is None else len(opened.extra)
    return _probes.setdefault((images.pixels.shape, extra, device), Probe())


def ask(opened: Opened, configs: Sequence[RunConfig], device: str) -> None:
    """Begins to measure the steps of `configs`, in the background, unless that is under way."""
    found = probe_of(opened, device)
    _measuring.ask(found, partial(_measure, found, opened, configs, device), "the forecast", again=ENDED)


def _measure(found: Probe, opened: Opened, configs: Sequence[RunConfig], device: str, task: Task[Job]) -> None:
    from engine.forecast.probe import probe
    from engine.forecast.timing import free_bytes

    found.asked = tuple(configs)
    runner, chosen = the_runner(), choose_device(device).device
    if _taken(chosen):
        raise Stopped
    found.free = free_bytes(chosen)
    workspace().mkdir(parents=True, exist_ok=True)
    found.costs += probe(
        opened.images,
        configs,
        chosen,
        threads=runner.threads,
        place=workspace(),
        extra=0 if opened.extra is None else len(opened.extra),
        stop=lambda: runner.trains_on(chosen) or task.asked_to_stop(),
        progress=partial(task.tell, "probing"),
    )


def _taken(device: torch.device) -> bool:
    """Whether this process, or another that uses the same workspace, trains on the device."""
    if the_runner().trains_on(device):
        return True
    folders = [RunFolder(entry) for entry in workspace().glob("*") if entry.is_dir()]
    return any(one.is_locked and not the_runner().owns(one) for one in folders)


# -- kept with a run -------------------------------------------------------------------------------


def keep(folder: RunFolder, opened: Opened, config: RunConfig, device: str) -> None:
    """Keeps with a new run what was forecast for it, if anything was."""
    found = probe_of(opened, device).of(config)
    if found is not None:
        save_forecast(folder, found)
