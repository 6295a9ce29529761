"""`events.jsonl`: one line an event, only ever added to; a line that cannot be read is passed over and counted."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from engine.events import Event, LineSkipped, Record, line_of, record_of


@dataclass(frozen=True)
class EventLog:
    """The events in a file, which need not be there yet."""

    path: Path

    def append(self, event: Event) -> None:
        """Adds one event, stamped with the time."""
        line = line_of(Record(time.time(), event)) + "\n"
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with self.path.open("ab") as file:
                file.write(line.encode())
        except OSError:  # of a full disk: half a line would spoil the next one
            with contextlib.suppress(OSError):
                os.truncate(self.path, size)
            raise

    def records(self, offset: int = 0) -> tuple[list[Record], int]:
        """Events from byte `offset` on, and the offset to continue from; half a line is left for later.

        A line that is damaged, or of a later version, stands as `LineSkipped`.
        """
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], 0
        end = text.rfind(b"\n") + 1
        return [_record(line) for line in text[:end].split(b"\n") if line.strip()], offset + end

    def mend(self) -> None:
        """Removes a partial last line left by a killed writer, so that the next event gets its own line."""
        if self.path.exists():
            end = self.records()[1]
            if end != self.path.stat().st_size:
                os.truncate(self.path, end)


def _record(line: bytes) -> Record:
    try:
        return record_of(line)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return Record(0.0, LineSkipped())
