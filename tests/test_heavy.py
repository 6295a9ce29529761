"""SciPy and torch may be imported by two threads at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A torch whose import lasts until SciPy's has ended, successfully or not.
SLOW_TORCH = "import __main__\n__main__.begun.set()\n__main__.ended.wait(120)\nTensor = type('Tensor', (), {})\n"
BOTH = """
import sys, threading
from engine.heavy import scipy_before_torch
sys.path.insert(0, {place!r})
begun, ended, failed = threading.Event(), threading.Event(), []

def train():
    {before}
    import torch

def page():
    begun.wait(120)
    try:
        import sklearn.datasets, scipy.optimize
        scipy.optimize.linear_sum_assignment([[1.0]])
    finally:
        ended.set()

threading.excepthook = lambda arguments: failed.append(arguments.exc_value)
threads = [threading.Thread(target=one) for one in (train, page)]
[one.start() for one in threads]
[one.join() for one in threads]
print(failed)
"""


def both(before: str, place: Path) -> str:
    """The error when one thread imports torch and another SciPy, or ""."""
    (place / "torch").mkdir()
    (place / "torch" / "__init__.py").write_text(SLOW_TORCH)
    code = BOTH.format(before=before, place=str(place))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout


@pytest.mark.parametrize(("before", "fails"), [("scipy_before_torch()", False), ("pass", True)])
def test_a_page_can_import_scipy_while_a_thread_imports_torch(before: str, fails: bool, tmp_path: Path) -> None:
    """If `pass` no longer fails, SciPy has been fixed, and `engine.heavy` can be removed."""
    assert ("partially initialized module 'torch'" in both(before, tmp_path)) is fails
