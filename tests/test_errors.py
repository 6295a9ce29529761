"""The sentences for errors."""

from __future__ import annotations

import errno

import pytest
import torch

from engine.errors import RunError, host_is_full, out_of_memory, sentence_of


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RunError("a has no features yet"), "a has no features yet"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError("no such socket"), "no such socket"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …"),
            "memory ran out (CUDA out of memory): choose smaller batches, or close other programs",
        ),
        (
            RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors …"),
            "the GPU failed (CUDA error: an illegal memory access was encountered): start SPICE "
            "Explorer again, and resume the run",
        ),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_no_bug(
    error: Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert sentence_of(error, "training") == said
    assert not caplog.records


def test_a_bug_is_called_one_and_logged_with_its_trace(caplog: pytest.LogCaptureFixture) -> None:
    error = KeyError("labels")
    said = sentence_of(error, "the report of a")
    assert said == "unexpected KeyError: 'labels' (this is a bug: please report it)"
    (record,) = caplog.records
    assert record.getMessage() == "the report of a failed"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_full_host_and_a_full_gpu_are_told_apart_and_from_all_else() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory") as full:
        torch.empty(2**50)  # a petabyte
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
    for error, ran_out, host in (
        (full.value, True, True),
        (MemoryError(), True, True),
        (gpu, True, False),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1.00 GB)"), True, False),
        (RuntimeError("PytorchStreamReader failed reading zip archive"), False, False),
    ):
        assert (out_of_memory(error), host_is_full(error)) == (ran_out, host), error
