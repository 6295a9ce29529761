"""BLAS kept to one thread, by one caller at a time.

scikit-learn's k-means and nearest neighbours do this on their own account: they set the number of BLAS threads of the
whole process to one, call BLAS inside an OpenMP loop, and put the number back. When two do so at once, the one that is
ready first puts it back while the other is still in its loop: BLAS then begins threads within that loop, and may hang
("OpenBLAS Warning : Detect OpenMP Loop"). Runs, exports, health reports and suggestions share a process here, so
whatever changes that number does it in here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ALONE = threading.RLock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS runs in one thread until the end of the block; other threads that ask for the same wait until then."""
    from threadpoolctl import threadpool_limits

    with _ALONE, threadpool_limits(1, "blas"):
        yield
