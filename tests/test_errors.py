"""What is said of an error."""

from __future__ import annotations

import errno

import pytest

from engine.errors import RunError, sentence_of


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RunError("a has no features yet"), "a has no features yet"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b"), "a/b: No space left on device"),
        (OSError("no such socket"), "no such socket"),
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
