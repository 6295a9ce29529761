"""python -m benchmarks [views] [start] [digits]: measures what is named, or everything."""

from __future__ import annotations

import sys

from benchmarks import digits, start, views
from benchmarks.report import provenance

ALL = {"views": views.measure, "start": start.measure, "digits": digits.measure}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}: choose from {', '.join(ALL)}", file=sys.stderr)
        return 2
    provenance()
    for name in names or ALL:
        ALL[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
