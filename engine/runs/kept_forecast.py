"""`Forecast`: the estimate made before a run, kept with it for comparison afterwards."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

from engine.errors import RunError
from engine.runs.files import write_text
from engine.runs.folder import RunFolder

FILE = "forecast.json"


@dataclass(frozen=True)
class Forecast:
    """The expected time, memory and disk of a run.

    Attributes:
        seconds: by part: features, heads, joint and the rest.
        low, high: the range of the total seconds.
        memory, gpu_memory: bytes at the peak, as in `Costs`.
        disk: bytes of the finished run's folder.
    """

    device: str
    threads: int
    seconds: dict[str, float]
    low: float
    high: float
    memory: int
    gpu_memory: int | None
    disk: int

    @property
    def total(self) -> float:
        return sum(self.seconds.values())


def save_forecast(folder: RunFolder, found: Forecast) -> None:
    """Keeps the forecast with the run that it is about, to be compared with what it took."""
    write_text(folder.path / FILE, json.dumps(to_json(found), indent=1))


def load_forecast(folder: RunFolder) -> Forecast | None:
    """The forecast made before the run, None if there is none; raises RunError."""
    try:
        kept = json.loads((folder.path / FILE).read_text("utf-8"))
        kept.pop("total")
        found = Forecast(**kept)
        # To use the numbers once shows that they are some.
        float(found.total + found.low + found.high)
        return found
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder.path / FILE} is damaged ({error}): the run itself is not") from None


def to_json(found: Forecast) -> dict[str, Any]:
    """Plain values by name, the total beside its parts."""
    return {"total": round(found.total, 3), **dataclasses.asdict(found)}
