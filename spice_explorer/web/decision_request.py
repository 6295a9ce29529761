"""What a browser asks to have decided: read within bounds, and checked before anything is committed.

Nothing in a request is believed: not the length it announces, nor that a number is one, or small enough to be kept.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from starlette.requests import Request

from engine.curate.decisions import AUDIT, CLASSES, Action, Decision
from engine.curate.provenance import of_answer

MOST_BYTES, MOST_OPS = 16 * 2**20, 500
# Letters of a text. The limits of what people type are lower, and say more.
MOST_TEXT = 20_000
# Rows, images and classes that there are not are named by the log; these could not even be kept.
MOST_NUMBER, MOST_CLASS = 2**53, int(np.iinfo(CLASSES).max)


class TooLongError(Exception):
    """A request with more bytes than are read."""


class MalformedError(Exception):
    """A request that is no list of decisions, with the reason."""


@dataclass(frozen=True)
class DecisionRequest:
    """Decisions of one reviewer, in their order.

    Attributes:
        seen: the last row that the reviewer's page was shown.
        ops: as they were asked for; `decision` makes decisions of them.
    """

    reviewer: str
    visit: str
    seen: int
    ops: tuple[Op, ...]

    def decision(self, op: Op) -> Decision:
        """Raises DecisionError for an action that there is not."""
        return Decision(
            cast(Action, op.action),
            self.reviewer,
            visit=self.visit,
            seen=self.seen,
            key=op.key,
            images=op.images,
            class_=op.class_,
            other=op.other,
            new=op.new,
            text=op.text,
            provenance=of_answer(len(op.images)),
            among=0 if op.audited else None,
        )


@dataclass(frozen=True, eq=False)
class Op:
    """One decision as a browser asks for it; `images` and `new` are int64."""

    key: str
    action: str
    images: np.ndarray
    class_: int | None
    other: int | None
    new: np.ndarray | None
    text: str
    audited: bool


async def body_of(request: Request) -> bytes:
    """The body of a request, however it is sent.

    Raises:
        TooLongError: as soon as it is longer than `MOST_BYTES`, whatever its header says.
    """
    parts, length = [], 0
    async for part in request.stream():
        length += len(part)
        if length > MOST_BYTES:
            raise TooLongError(f"more than {MOST_BYTES:,} bytes at a time: send fewer decisions at once")
        parts.append(part)
    return b"".join(parts)


def parsed(content: bytes) -> DecisionRequest:
    """The request in `content`; raises MalformedError."""
    try:
        asked = _mapping(json.loads(content), "the request")
    except RecursionError:
        raise MalformedError("its lists are nested too deeply") from None
    except ValueError as error:
        raise MalformedError(str(error)) from None
    ops = asked.get("ops")
    if not isinstance(ops, list):
        raise MalformedError(f"ops is {_kind(ops)}, expected a list")
    if len(ops) > MOST_OPS:
        raise MalformedError(f"{len(ops):,} at a time, expected at most {MOST_OPS}")
    return DecisionRequest(
        _text(asked, "reviewer"),
        _text(asked, "visit"),
        _whole(asked.get("seen"), "seen"),
        tuple(_op(_mapping(one, "a decision")) for one in ops),
    )


def _op(asked: dict[str, Any]) -> Op:
    new = _numbers(asked.get("classes"), "classes")
    if len(new) and not 0 <= new.min() <= new.max() <= MOST_CLASS:
        raise MalformedError(f"classes has numbers from {new.min()} to {new.max()}, expected 0 to {MOST_CLASS:,}")
    return Op(
        _text(asked, "key"),
        _text(asked, "action"),
        _numbers(asked.get("ids"), "ids"),
        _number(asked.get("class"), "class"),
        _number(asked.get("other"), "other"),
        new if len(new) else None,
        "" if asked.get("text") is None else _text(asked, "text"),
        asked.get("mark") == AUDIT,
    )


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is {_kind(value)}, expected an object")
    return value


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"{name} is {_kind(value)}, expected a text")
    if len(value) > MOST_TEXT:
        raise MalformedError(f"{name} has {len(value):,} letters, expected at most {MOST_TEXT:,}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise MalformedError(f"{name} is not valid Unicode") from None
    return value


def _number(value: Any, name: str) -> int | None:
    return None if value is None else _whole(value, name)


def _whole(value: Any, name: str) -> int:
    if type(value) is not int:  # True is an int, too
        raise MalformedError(f"{name} is {_kind(value)}, expected a whole number")
    if abs(value) > MOST_NUMBER:
        raise MalformedError(f"{name} has a number beyond {MOST_NUMBER:,}, expected a smaller one")
    return value


def _numbers(value: Any, name: str) -> np.ndarray:
    """(m,) int64; none where nothing is said."""
    if value is None:
        return np.zeros(0, np.int64)
    if not isinstance(value, list):
        raise MalformedError(f"{name} is {_kind(value)}, expected a list of whole numbers")
    return np.array([_whole(one, name) for one in value], np.int64)


def _kind(value: Any) -> str:
    names = {type(None): "missing", bool: "true or false", dict: "an object", list: "a list", str: "a text"}
    return names.get(type(value), "a fraction" if isinstance(value, float) else "a number")
