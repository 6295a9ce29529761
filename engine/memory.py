"""How much memory of this machine is free."""

from __future__ import annotations

from pathlib import Path

# Where Linux says what a container may take, and has taken.
_CONTAINERS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)


def free_memory() -> int | None:
    """Bytes that programs can still take, in a container no more than it may; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, ValueError, StopIteration):
        return None
    for most, taken in _CONTAINERS:
        try:
            free = min(free, int(Path(most).read_text("ascii")) - int(Path(taken).read_text("ascii")))
        except (OSError, ValueError):  # no container, or one without a limit
            continue
    return max(0, free)
