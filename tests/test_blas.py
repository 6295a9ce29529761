"""BLAS kept to one thread by one caller at a time."""

from __future__ import annotations

import threading

import numpy as np
from threadpoolctl import threadpool_info

from engine.blas import one_blas_thread
from engine.space.kmeans import kmeans

SOON = 60


def _blas_threads() -> list[int]:
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


def test_callers_take_turns_and_leave_the_number_of_threads_as_they_found_it() -> None:
    before = _blas_threads()
    inside, leave = ([threading.Event(), threading.Event()] for _ in range(2))
    numbers: list[list[int]] = []

    def hold(which: int) -> None:
        with one_blas_thread():
            numbers.append(_blas_threads())
            inside[which].set()
            leave[which].wait(SOON)

    callers = [threading.Thread(target=hold, args=(which,)) for which in range(2)]
    callers[0].start()
    assert inside[0].wait(SOON)
    callers[1].start()
    assert not inside[1].wait(0.2)
    leave[0].set()
    assert inside[1].wait(SOON)
    leave[1].set()
    for caller in callers:
        caller.join(SOON)
    assert numbers == [[1] * len(before)] * 2
    assert _blas_threads() == before


def test_k_means_waits_for_its_turn() -> None:
    labels: list[np.ndarray] = []
    vectors = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    worker = threading.Thread(target=lambda: labels.append(kmeans(vectors, 2, 0, starts=1)))
    with one_blas_thread():
        worker.start()
        worker.join(0.3)
        assert worker.is_alive()
        assert not labels
    worker.join(SOON)
    assert len(set(labels[0][:3])) == len(set(labels[0][3:])) == 1
