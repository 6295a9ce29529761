"""The output folder of one short sitting at a machine; each result is written as soon as it is known."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.pieces import Options
from benchmarks.report import provenance
from engine.config import RunConfig, override
from engine.errors import SpiceError, first_sentence
from engine.presets import preset

PRESET = "fast"
CLUSTERS = 10


class Sitting:
    """The folder, the log, the clock and the figures so far.

    Attributes:
        found: part → name → figures, as in gpu.json.
        config: the settings to train with: the preset, changed by --set.
    """

    def __init__(self, options: Options, folder: Path, device: torch.device) -> None:
        """Raises SpiceError if `folder` cannot be written to, or contains an earlier sitting."""
        self.options, self.folder, self.device = options, folder, device
        self.config: RunConfig = override(preset(PRESET, clusters=CLUSTERS, channels=3), *options.assignments)
        self.found: dict[str, dict[str, Any]] = {}
        self.render: Callable[[dict[str, Any]], str] = lambda _: ""
        if (folder / "gpu.json").exists():
            raise SpiceError(f"{folder} holds a sitting already: name another folder with --out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "log.txt").write_text("")
        except OSError as error:
            raise SpiceError(
                f"{folder} cannot be written to ({error.strerror}): name another folder with --out"
            ) from None
        self.say(f"{provenance()['device']}, commit {provenance()['commit']}")

    @property
    def gpu(self) -> bool:
        return self.device.type == "cuda"

    def seconds_left(self) -> float:
        return self.options.seconds_left()

    def say(self, text: str) -> None:
        """Writes a line to the log, with the elapsed seconds."""
        line = f"{time.monotonic() - self.options.began:7.1f} s  {text}"
        print(line, flush=True)
        with (self.folder / "log.txt").open("a") as file:
            file.write(line + "\n")

    def keep(self, part: str, name: str, figures: Any) -> None:
        """Adds figures to gpu.json and gpu.md."""
        self.found.setdefault(part, {})[name] = figures
        about = {**provenance(), "settings": list(self.options.assignments), **self.found}
        self.write("gpu.json", (json.dumps(about, indent=1) + "\n").encode())
        self.write("gpu.md", self.render(about).encode())
        self.say(f"{part}, {name}: {json.dumps(figures)[:300]}")

    def write(self, name: str, content: bytes) -> None:
        """Writes a file atomically."""
        draft = self.folder / f".{name}.tmp"
        try:
            draft.write_bytes(content)
            draft.replace(self.folder / name)
        finally:
            draft.unlink(missing_ok=True)

    def attempt(self, part: str, name: str, measure: Callable[[], dict[str, Any]]) -> None:
        """Keeps the figures that `measure` returns, or the reason it failed; the sitting continues either way."""
        began = time.perf_counter()
        try:
            figures = measure()
        except Unfit as reason:
            figures = {"skipped": str(reason)}
        except Exception as error:  # one failure must not end a short sitting
            figures = {"error": f"{type(error).__name__}: {first_sentence(error)}"}
            self.say(traceback.format_exc())
        self.keep(part, name, {**figures, "seconds": round(time.perf_counter() - began, 1)})
        if self.gpu:
            torch.cuda.empty_cache()


class Unfit(Exception):
    """Raised for what cannot be measured on this device or in the time that is left; says why."""
