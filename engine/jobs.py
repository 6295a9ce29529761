"""Background work, and the switches that control it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from engine.events import Emit, RunContinued, RunPaused


@dataclass
class Control:
    """Two switches that a person sets and a training thread checks at every step."""

    _stop: threading.Event = field(default_factory=threading.Event)
    _go: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._go.set()

    def pause(self) -> None:
        self._go.clear()

    def resume(self) -> None:
        self._go.set()

    def stop(self) -> None:
        self._stop.set()
        self._go.set()

    @property
    def paused(self) -> bool:
        return not self._go.is_set()

    def asked_to_stop(self, emit: Emit) -> bool:
        """True when the thread shall stop; waits here while the run is paused."""
        if self.paused and not self._stop.is_set():
            emit(RunPaused())
            self._go.wait()
            if not self._stop.is_set():
                emit(RunContinued())
        return self._stop.is_set()
