"""One HTML file that works without a network: inserting style, scripts and data so that none of them can end early."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# What would end a script or style, or begin a comment that hides its end, wherever it stands.
_ENDS = re.compile(r"<(?=/?(?:script|style)|!--)", re.IGNORECASE)


def inside(text: str) -> str:
    """A style or script as it may stand inside its element."""
    return _ENDS.sub("\\\\x3c", text)


def data_of(values: dict[str, Any]) -> str:
    """Plain values as JSON that is safe inside a script element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def filled(page: str, content: Mapping[str, str]) -> str:
    """The page with each marker replaced; in one pass, so that markers inside inserted text are not replaced."""
    return re.sub("|".join(map(re.escape, content)), lambda marker: content[marker[0]], page)


def policy_hash(text: str) -> str:
    """What a Content-Security-Policy calls the one style or script with this text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
