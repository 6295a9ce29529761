"""Libraries that take long to import, in the order that two threads need.

SciPy, while it is imported, looks whether torch is there. If another thread is importing torch at that moment,
SciPy finds half of it and fails, and so does the page or the job that asked for it.
"""

from __future__ import annotations

import importlib

# Every part of SciPy and scikit-learn that the engine uses.
SCIPY = ("scipy.optimize", "scipy.stats", "sklearn.cluster", "sklearn.datasets", "sklearn.metrics", "sklearn.neighbors")


def scipy_before_torch() -> None:
    """Imports SciPy whole, or waits until another thread has; call it before a thread imports torch."""
    for name in SCIPY:
        importlib.import_module(name)
