"""Pieces of HTML. Every text is escaped here, and nowhere else: names of classes, files and reviewers are anybody's."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from engine.report.clusters import Shown
from engine.shares import percent


def text(value: object) -> str:
    """A text as HTML, also within quotes."""
    return html.escape(str(value), quote=True)


def tag(name: str, content: str, css: str = "") -> str:
    """An element around HTML."""
    return f'<{name} class="{css}">{content}</{name}>' if css else f"<{name}>{content}</{name}>"


def section(anchor: str, title: str, *content: str) -> str:
    return f'<section id="{anchor}"><h2>{text(title)}</h2>{"".join(content)}</section>'


def paragraph(words: str, css: str = "") -> str:
    return tag("p", text(words), css)


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Names with their values."""
    return tag(
        "dl", "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in rows), "facts"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, words: int = 1, stacked: bool = False) -> str:
    """A table.

    Args:
        columns: texts.
        rows: cells, as HTML.
        words: how many columns, from the first, hold words; the others hold numbers.
        stacked: whether a narrow window has a block for each row; else the table scrolls there by itself.
    """
    head = "".join(f'<th scope="col"{_right(place, words)}>{text(one)}</th>' for place, one in enumerate(columns))
    body = "".join(f"<tr>{_cells(columns, row, words)}</tr>" for row in rows)
    css = "wide stacked" if stacked else "wide"
    return f'<div class="{css}"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(columns: Sequence[str], row: Sequence[str], words: int) -> str:
    first, *others = row
    cells = "".join(
        f'<td data-column="{text(columns[place])}"{_right(place, words)}>{one}</td>'
        for place, one in enumerate(others, 1)
    )
    return f'<th scope="row">{first}</th>{cells}'


def _right(place: int, words: int) -> str:
    return ' class="number"' if place >= words else ""


def swatch(colour: str) -> str:
    """A dot in a colour; an attribute, because the page's policy forbids styles of single elements."""
    dot = f'<circle cx="5" cy="5" r="5" fill="{text(colour)}"/>'
    return f'<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">{dot}</svg>'


def bar(counts: Sequence[int], colours: Sequence[str], names: Sequence[str]) -> str:
    """Counts as parts of one bar."""
    total, start, parts = sum(counts), 0.0, ""
    for count, colour in zip(counts, colours, strict=True):
        width = 100 * count / max(1, total)
        if count:
            parts += f'<rect x="{start:.3f}" width="{width:.3f}" height="10" fill="{text(colour)}"/>'
        start += width
    said = ", ".join(f"{count:,} {name}" for count, name in zip(counts, names, strict=True))
    return (
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{text(said)}">'
        f"<title>{text(said)}</title>{parts}</svg>"
    )


def legend(counts: Sequence[int], colours: Sequence[str], names: Sequence[str]) -> str:
    """What each part of a bar stands for."""
    total = max(1, sum(counts))
    rows = zip(counts, colours, names, strict=True)
    items = (
        f"<li>{swatch(colour)}{text(name)} <b>{count:,}</b> {percent(count / total)}</li>"
        for count, colour, name in rows
    )
    return tag("ul", "".join(items), "legend")


def pictures(ids: Sequence[int], shown: Shown) -> str:
    """A row of pictures, each with the name of its file."""
    cells = []
    for one in ids:
        name = text(shown.names[one])
        cells.append(f'<img src="{text(shown.addresses[one])}" alt="{name}" title="{name}">')
    return tag("div", "".join(cells), "pictures sharp" if shown.sharp else "pictures")
