"""Names of files and folders that every system takes: legal, and distinct even where case makes no difference."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

# What Windows takes in no name; the slash is taken by no system.
_ILLEGAL = dict.fromkeys(map(ord, '<>:"/\\|?*'), "_") | dict.fromkeys([*range(32), 127], "_")
# Devices of Windows, with any ending.
_RESERVED = frozenset(
    [
        "con",
        "prn",
        "aux",
        "nul",
        "conin$",
        "conout$",
        *(f"{port}{digit}" for port in ("com", "lpt") for digit in "123456789¹²³"),
    ]
)
MOST_BYTES = 200


def legal(name: str) -> str:
    """`name` as a file or folder can be called on every system, and is not hidden on any.

    >>> legal("cats/dogs"), legal("CON"), legal("nul.txt"), legal(".."), legal("a. "), legal("")
    ('cats_dogs', 'CON_', 'nul_.txt', '_', 'a', '_')
    """
    text = unicodedata.normalize("NFC", name).translate(_ILLEGAL)
    text = "".join("_" if unicodedata.category(one) in ("Cc", "Cs", "Zl", "Zp") else one for one in text)
    text = _shortened(text.strip(" ")).rstrip(". ")
    if text.startswith((".", "__")):  # hidden, or passed over by Hugging Face's image folders
        text = "_" + text.lstrip("._")
    stem, dot, ending = text.partition(".")
    return f"{stem}_{dot}{ending}" if stem.rstrip(" ").lower() in _RESERVED else text or "_"


def _shortened(text: str) -> str:
    """Shortened in the middle to MOST_BYTES, so that the ending stays."""
    while len(text.encode()) > MOST_BYTES:
        half = len(text) // 2
        text = text[: half - 1] + text[half:]
    return text


def folded(name: str) -> str:
    """Equal for names that some system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Distinct:
    """Makes names legal and distinct, in the order in which they are given.

    A name that has to be changed never becomes one of the `wanted`.

    >>> distinct = Distinct(["a.png", "A.png", "A-2.png"])
    >>> distinct("a.png"), distinct("A.png"), distinct("A-2.png")
    ('a.png', 'A-3.png', 'A-2.png')
    """

    def __init__(self, wanted: Iterable[str] = ()) -> None:
        self._wanted = {folded(legal(one)) for one in wanted}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def __call__(self, name: str) -> str:
        plain = found = legal(name)
        stem, dot, ending = plain.rpartition(".")
        if not stem:
            stem, dot, ending = plain, "", ""
        key, number = folded(plain), self._next.get(folded(plain), 2)
        while folded(found) in self._taken or (found != plain and folded(found) in self._wanted):
            found, number = f"{stem}-{number}{dot}{ending}", number + 1
        self._next[key] = number
        self._taken.add(folded(found))
        return found


def folder_names(classes: Iterable[str]) -> list[str]:
    """A folder for each class, in the same order.

    >>> folder_names(["Cat", "cat", "a/b", "a:b"])
    ['Cat', 'cat-2', 'a_b', 'a_b-2']
    """
    named = list(classes)
    distinct = Distinct(named)
    return [distinct(one) for one in named]
