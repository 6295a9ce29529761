"""The Dataset page's parts: a chooser, and a report on what was opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from spice_explorer import charts, services, session
from spice_explorer.components import gallery, scores
from spice_explorer.present import dataset as present
from spice_explorer.present.gallery import Known, page_slice, pages, tiles

if TYPE_CHECKING:
    from engine.data.sources import Opened

Kind = Literal["digits", "folder", "cifar10"]
KINDS: dict[Kind, str] = {
    "digits": "Digits (built in)",
    "folder": "A folder of images",
    "cifar10": "CIFAR-10 folder",
}
SAMPLE, PER_PAGE = 192, 96


def chooser() -> None:
    """Asks for a source; opening one keeps it for the Train page."""
    with st.container(border=True, key="source"):
        kind: Kind = st.segmented_control(
            "Source", list(KINDS), format_func=KINDS.__getitem__, default="digits",
            required=True, key="source kind",
        )  # fmt: skip
        if kind == "digits":
            st.caption(
                "1,797 handwritten digits, 8 × 8 grey. Nothing to download: a laptop trains them in "
                "about a minute."
            )
            if st.button("Use the digits", key="use digits"):
                session.keep_opened(services.digits())
        elif kind == "folder":
            _folder()
        else:
            _cifar10()


def _folder() -> None:
    left, right = st.columns([4, 1], vertical_alignment="top")
    path = left.text_input("Folder", key="folder path", placeholder="~/photos")
    size = right.number_input(
        "Size", 4, 1024, 32, key="folder size",
        help="Side in pixels to which images are scaled; their middle square is kept.",
    )  # fmt: skip
    labels = st.checkbox(
        "Class subfolders are labels: use them for scores only", key="folder labels"
    )
    st.caption(
        "PNG, JPEG, WebP, BMP, GIF and TIFF in the folder and its subfolders, read on the machine "
        "that runs this app."
    )
    if st.button("Open the folder", type="primary", key="open folder"):
        _open("folder", path, int(size), labels)


def _cifar10() -> None:
    path = st.text_input("Folder", key="cifar path", placeholder="~/cifar-10-batches-py")
    st.caption("torchvision's cifar-10-batches-py, or class folders train/airplane … train/truck.")
    if st.button("Open CIFAR-10", type="primary", key="open cifar"):
        _open("cifar10", path, None, False)


def _open(kind: Kind, path: str, size: int | None, labels: bool) -> None:
    if not path.strip():
        st.warning("Type the path of the folder first.", icon=":material/edit:")
        return
    bar = st.progress(0.0, "Reading images…")

    def progress(done: int, total: int) -> None:
        if done % max(1, total // 100) == 0 or done == total:
            bar.progress(done / total, f"Reading images: {done:,} of {total:,}")

    try:
        session.keep_opened(services.open_source(f"{kind}:{path.strip()}", size, labels, progress))
    finally:
        bar.empty()


def report(opened: Opened) -> None:
    """What was opened: numbers, a sample, class balance with truth, skipped files."""
    images, truth = opened.images, opened.truth
    classes = None if truth is None else len(truth.class_names)
    found = present.facts(images.pixels, classes, len(opened.skipped))
    st.subheader(images.source.partition(":")[2] or images.source.capitalize())
    with st.container(horizontal=True, key="facts"):
        st.metric("Images", f"{found.images:,}", border=True)
        st.metric("Size", found.size, border=True)
        st.metric("Colours", found.colours, border=True)
        if found.classes is not None:
            st.metric("Classes in the truth", found.classes, border=True)
        st.metric("Skipped files", f"{found.skipped:,}", border=True)
    _sample(opened)
    if truth is not None:
        with scores.truth_box("balance", "Ground truth"):
            st.markdown("**Images of each class**")
            table = present.class_balance(truth.labels, truth.class_names)
            charts.draw(charts.class_balance(table), "balance", "Images of each class")
    _skipped(opened)


def _sample(opened: Opened) -> None:
    count = len(opened.images)
    ids = present.sample(count, SAMPLE)
    st.markdown("**All images**" if len(ids) == count else f"**A sample of {len(ids)}**")
    known = Known(opened.images.pixels, opened.images.names)
    last, place = pages(len(ids), PER_PAGE), st.empty()
    page = min(last, st.pagination(last, key=f"page-sample-{last}")) if last > 1 else 1
    with place.container():
        shown = tiles(known, ids[page_slice(page, PER_PAGE)])
        gallery.strip(shown, side=58, sharp=gallery.sharp(known))


def _skipped(opened: Opened) -> None:
    if not opened.skipped:
        return
    st.markdown(f"**{len(opened.skipped):,} files were skipped**")
    table = present.skipped_table([(one.name, one.reason) for one in opened.skipped])
    st.dataframe(table, hide_index=True, height=min(320, 38 + 35 * len(table)), key="skipped")
