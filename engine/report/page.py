"""The report as one HTML file that works without a network: `Contents` as HTML, with style, script and map inside."""

from __future__ import annotations

from pathlib import Path

from engine.errors import RunError
from engine.lesson.scripts import joined
from engine.one_file import data_of, filled, inside, policy_hash
from engine.report import markup
from engine.report.clusters import FORMING, MOST_PROTOTYPES, Cluster
from engine.report.contents import Contents, date, day
from engine.report.labels import palette
from engine.report.markup import bar, definitions, paragraph, section, swatch, table, tag, text
from engine.report.people import People
from engine.report.quality import Table
from engine.report.settings import Group
from engine.report.source import Reason, SourceHealth
from engine.shares import percent
from engine.terms import EXPLANATIONS, REASONS

HERE = Path(__file__).parent
# What a reader without the app needs to know.
WORDS = (
    ("cluster", "one of the groups of similar images that SPICE finds without any labels"),
    ("class", "a cluster as people renamed, merged or split it"),
    ("prototype", "the mean of a cluster's most confident images; images are labelled by the nearest one"),
    ("reliable", "a label with which the image's neighbours agree and of which the model is confident"),
    ("rejected", "a label that is not reliable; it may still be right"),
    ("decided", "labelled by a person, whether or not the person looked at this one image (seen) or at many (bulk)"),
)


def report_page(said: Contents) -> str:
    """The whole file; raises RunError where a part of the page is missing."""
    try:
        style, script = inside((HERE / "report.css").read_text("utf-8")), inside(joined(HERE / "order.txt", "js"))
        frame = (HERE / "page.html").read_text("utf-8")
    except OSError as error:
        raise RunError(
            f"{error.filename} cannot be read ({error.strerror}): the report's page is part of this project; restore "
            "the folders engine/report and assets"
        ) from None
    sections = [
        _summary(said),
        _quality(said),
        _map(said),
        _clusters(said),
        _prototypes(said),
        _reliability(said),
        _people(said.people),
        _health(said.health),
        _settings(said.settings),
        section("words", "Words", definitions(WORDS)),
    ]
    content = {
        "/*TITLE*/": text(f"{said.title} · {said.run}"),
        "/*STYLE-HASH*/": policy_hash(style),
        "/*SCRIPT-HASH*/": policy_hash(script),
        "/*STYLE*/": style,
        "/*SCRIPT*/": script,
        "/*HEAD*/": _head(said),
        "/*SECTIONS*/": "".join(sections),
        "/*DATA*/": data_of(said.map),
    }
    return filled(frame, content)


# -- sections ------------------------------------------------------------------------------------


def _head(said: Contents) -> str:
    notices = "".join(paragraph(one, "notice") for one in said.notices)
    return (
        f'<p class="eyebrow">Clustering report</p><h1>{text(said.title)}</h1>'
        f'<p class="under">Run {text(said.run)} · {text(day(said.made))}</p>{notices}'
    )


def _summary(said: Contents) -> str:
    figures = "".join(
        tag(
            "li",
            tag("b", text(one.value))
            + tag("span", text(one.name))
            + (tag("small", text(one.note)) if one.note else ""),
        )
        for one in said.figures
    )
    return section("summary", "Summary", tag("ul", figures, "figures"), definitions(said.facts))


def _quality(said: Contents) -> str:
    found = said.quality
    measured = "".join(paragraph(one) for one in found.measured)
    free = _scores(found.scores)
    if found.estimate:
        free = (
            paragraph(
                f"Estimated purity of the reliable labels: {found.estimate}. It comes from the agreement of heads and "
                "neighbours, assumes that clusters stand for classes, and cannot see mistakes that all of them share."
            )
            + free
        )
    boxes = [
        tag("div", f"<h3>Measured by people</h3>{measured}", "box"),
        tag("div", f"<h3>Without any labels</h3>{free}", "box"),
    ]
    if found.truth is not None:
        pure = paragraph(f"Purity of the reliable labels: {found.purity}.") if found.purity else ""
        note = paragraph(
            "The source has true labels. They were never used in training, only for these scores.", "quiet"
        )
        boxes.append(tag("div", f"<h3>Against ground truth</h3>{note}{_scores(found.truth)}{pure}", "box truth"))
    else:
        boxes.append(
            tag(
                "div",
                "<h3>Against ground truth</h3>" + paragraph("There are no true labels, so accuracy is unknown."),
                "box",
            )
        )
    return section("quality", "How good the labels are", tag("div", "".join(boxes), "boxes"))


def _scores(found: Table) -> str:
    if not found.stages:
        return paragraph("No stage has been scored yet.", "quiet")
    rows = table(("", *found.stages), ((text(one.name), *map(text, one.values)) for one in found.scores))
    known = [one for one in found.scores if one.meaning]
    return rows + "".join(tag("p", f"<b>{text(one.name)}</b>: {text(one.meaning)}", "quiet") for one in known)


def _map(said: Contents) -> str:
    kind = "a UMAP of the features" if said.map["kind"] == "umap" else "the first two principal components"
    pictured = len(said.map["names"])
    shown = said.map["points"]["shape"][0]
    some = (
        f"{pictured:,} of {shown:,} images, of every class as large a share, have a picture and a name here."
        if pictured < shown
        else "Point at one, or touch it, to see its picture."
    )
    words = f"Every image is a point: {kind}. Images that look alike to the model lie close to each other. {some}"
    holder = (
        '<div id="map"></div><noscript><p class="quiet">The map is drawn by the script in this file.</p></noscript>'
    )
    return section("map-section", "Map", paragraph(words), holder)


def _clusters(said: Contents) -> str:
    judged = said.counts is not None
    columns = ["Cluster", "Typical images", "Images", *(["Reliable", "Share"] if judged else [])]
    rows = (
        (
            _name(one),
            markup.pictures(one.typical, said.shown) if one.typical else tag("span", "none", "quiet"),
            f"{one.size:,}",
            *([f"{one.reliable:,}", percent((one.reliable or 0) / one.size) if one.size else "–"] if judged else []),
        )
        for one in said.clusters
    )
    note = (
        "Typical images are those whose labels are least doubtful." if judged else "Typical images lie in the middle."
    )
    return section("clusters", "Clusters", paragraph(note), table(columns, rows, words=2, stacked=True))


def _name(one: Cluster) -> str:
    return f'<span class="name">{swatch(one.colour)}{text(one.title)}</span>'


def _prototypes(said: Contents) -> str:
    rows = [one for one in said.clusters if one.forming]
    if not said.shown.forming:
        return section("prototypes", "Prototypes", paragraph("Stage 2, which makes them, is not done yet."))
    first = f"The first {min(FORMING, len(rows[0].forming))} are shown" if rows else "None are shown"
    words = (
        f"In stage 2, each cluster's {said.shown.forming:,} most confident images form its prototype, and "
        f"the prototype labels the images nearest to it. {first}, the most confident first."
    )
    if len(said.clusters) > MOST_PROTOTYPES:
        words += f" Of {len(said.clusters):,} clusters, these are the {len(rows):,} largest."
    cards = "".join(
        tag("div", f"<h3>{_name(one)}</h3>{markup.pictures(one.forming, said.shown)}", "card") for one in rows
    )
    return section("prototypes", "Prototypes", paragraph(words), tag("div", cards, "cards"))


def _reliability(said: Contents) -> str:
    if said.counts is None:
        return section(
            "reliability", "Reliability", paragraph("Labels are judged after stage 2, which is not done yet.")
        )
    colours = palette()["verdicts"]
    asked = "".join(f"<li><b>{text(share)}</b> {text(meaning)}</li>" for share, meaning in said.thresholds)
    reasons = "".join(
        f"<li><b>{text(name)}</b>: {text(why)}</li>" for name, why in zip(REASONS, EXPLANATIONS, strict=True)
    )
    rows = (
        (_name(one), bar(one.counts, colours, REASONS), *(f"{count:,}" for count in one.counts))
        for one in said.clusters
        if one.counts is not None
    )
    return section(
        "reliability",
        "Reliability",
        paragraph("A label is reliable if"),
        tag("ul", asked, "plain"),
        bar(said.counts, colours, REASONS),
        markup.legend(said.counts, colours, REASONS),
        table(("Cluster", "", *(one.capitalize() for one in REASONS)), rows, words=2, stacked=True),
        tag("ul", reasons, "plain quiet"),
    )


def _people(found: People) -> str:
    if not found.any:
        return section(
            "people", "Decisions", paragraph("No person has decided anything: all labels are the model's own.")
        )
    givers = table(
        ("Given by", "Meaning", "Images"),
        ((text(one.name), text(one.meaning), f"{one.images:,}") for one in found.givers),
        words=2,
    )
    left = (
        f"{found.decided:,} images are decided, {found.rejected:,} labels were rejected by a person as wrong, "
        f"{found.left_out:,} images are left out, and reviewers disagree about {found.disputed:,}. Undone decisions do "
        "not count."
    )
    columns = ("Reviewer", "First", "Last", "Seen", "Bulk", "Voted", "Rejected", "Left out")
    reviewers = (
        (
            text(one.name),
            *(tag("span", text(date(when)), "when") if when else "–" for when in (one.first, one.last)),
            *(f"{count:,}" for count in (one.seen, one.bulk, one.voted, one.rejected, one.left_out)),
        )
        for one in found.reviewers
    )
    who = table(columns, reviewers, words=3, stacked=True) if found.reviewers else ""
    classes = (
        (f'<span class="name">{swatch(one.colour)}{text(one.name)}</span>', f"{one.images:,}", f"{one.decided:,}")
        for one in found.classes
    )
    named = table(("Class", "Images", "Decided"), classes) if found.classes else ""
    heading = "<h3>Classes as people left them</h3>" if named else ""
    return section("people", "Decisions", paragraph(left), givers, who, heading, named)


def _health(found: SourceHealth) -> str:
    same = "No two images have the same pixels."
    if found.same:
        several = "picture" if found.groups == 1 else "different pictures"
        same = (
            f"{found.same:,} images have the same pixels as another one: together they show {found.groups:,} {several}."
        )
    said = [paragraph(same)]
    if found.findings is None:
        said.append(
            paragraph(
                "No health report of these images was kept, so near duplicates and other possible problems were not "
                "looked for."
            )
        )
    else:
        rows = ((text(name.capitalize()), f"{count:,}" if count else "none") for name, count in found.findings)
        said.append(table(("Possible problem", "Images"), rows))
    said.append(_reasons("Skipped: files that could not be read", found.skipped, "No file was skipped."))
    said.append(
        _reasons("Left out by people before training", found.excluded, "No image was left out before training.")
    )
    return section("health", "Health of the source", *said)


def _reasons(title: str, rows: tuple[Reason, ...], none: str) -> str:
    if not rows:
        return paragraph(none)
    cells = ((text(one.reason), text(", ".join(one.examples)), f"{one.images:,}") for one in rows)
    return f"<h3>{text(title)}</h3>" + table(("Reason", "For example", "Files"), cells, words=2)


def _settings(groups: tuple[Group, ...]) -> str:
    differing = sum(one.differs for group in groups for one in group.values)
    words = (
        f"{differing:,} settings differ from the paper's; they are marked. “–” stands for one that the paper does not "
        "have."
    )
    parts = []
    for group in groups:
        rows = (
            (
                f'<span title="{text(one.meaning)}">{text(one.name)}</span>',
                tag("b", text(one.value), "differs") if one.differs else text(one.value),
                text(one.paper or "–"),
            )
            for one in group.values
        )
        changed = sum(one.differs for one in group.values)
        note = f"{changed:,} of {len(group.values):,} differ" if changed else "as in the paper"
        head = f"<summary>{text(group.title)} <small>{note}</small></summary>"
        parts.append(tag("details", head + table(("Setting", "Here", "Paper"), rows)))
    return section("settings", "Settings", paragraph(words), *parts)
