"""What the browser is given: scripts, styles and markup that lie in several files and go out as one.

An order (`order.txt`) names the files, one a line, beside it or by a relative path. Scripts share one scope, so a
name must come before whatever uses it on loading. A line that names another order stands for the files of that one.
A JSON file becomes a constant: `palette.json` is `PALETTE`.
"""

from __future__ import annotations

from pathlib import Path


def files(order: Path) -> list[Path]:
    """The files that `order` names, in order."""
    found: list[Path] = []
    for name in order.read_text("utf-8").split():
        path = order.parent / name
        found += files(path) if path.suffix == ".txt" else [path]
    return found


def joined(order: Path, kind: str) -> str:
    """The text of all files of a `kind` ("html", "css" or "js") that `order` names."""
    endings = (".js", ".json") if kind == "js" else (f".{kind}",)
    return "\n".join(_text(path) for path in files(order) if path.suffix in endings)


def _text(path: Path) -> str:
    text = path.read_text("utf-8")
    return f"const {path.stem.upper()} = {text.strip()};\n" if path.suffix == ".json" else text
