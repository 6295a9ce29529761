"""The Dataset page's parts: a chooser, and a report on the opened source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import streamlit as st

from spice_explorer import charts, session
from spice_explorer.components import gallery
from spice_explorer.present import dataset as present
from spice_explorer.present.gallery import Known, described
from spice_explorer.queries import imports, sources
from spice_explorer.sections import scores
from spice_explorer.sections.dataset import health
from spice_explorer.web import originals

if TYPE_CHECKING:
    from engine.data.origin import Fit
    from engine.sources.import_job import Asked, ImportJob
    from engine.sources.open_source import Opened
    from spice_explorer.web.originals import Pictures

Kind = Literal["digits", "shapes", "own", "set"]
KINDS: dict[Kind, str] = {
    "own": "Your images",
    "digits": "Digits (built in)",
    "shapes": "Shapes (built in)",
    "set": "Benchmark sets",
}
FIT_NAMES: dict[Fit, str] = {"crop": "Middle", "pad": "Whole, with a border", "squeeze": "Whole, squeezed"}
PURPOSE = (
    "SPICE Explorer sorts a folder of unlabelled images into groups, shows which of its labels you can trust and "
    "why, and keeps the ones that you have checked."
)
STEPS = (
    ("Open a folder", "Or an archive, a table or arrays. The images stay where they are, and no labels are needed."),
    ("Train", "One click. Groups form while you watch, and the labels that neighbours agree on are marked reliable."),
    ("Check and export", "Name the groups, correct doubtful images from the keyboard, and save the labels."),
)
SAMPLE, PER_PAGE = 192, 96
LIVE_SECONDS = 0.5
# What takes as long as it takes.
UNCOUNTED = {
    "waiting": "Another import of these images is running or paused; waiting for it…",
    "cancelling": "Cancelling…",
}


def introduction() -> None:
    """For somebody who has no run and has opened nothing: what this is, and the three steps."""
    if not _is_new():
        return
    steps = "".join(
        f"<li><b>{number}. {title}</b><span>{words}</span></li>" for number, (title, words) in enumerate(STEPS, 1)
    )
    st.html(f"<div class='spice-first'><p>{PURPOSE}</p><ol>{steps}</ol></div>")


def below() -> None:
    """The report on the opened source; examples for somebody who has neither a run nor a source."""
    if _is_new():
        _examples()
    else:
        report(session.opened())
        to_train()


def _is_new() -> bool:
    return session.current_run() is None and not session.has_opened()


def _examples() -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="examples"):
        st.markdown("**Or try an example**")
        if st.button("Digits: 1,797 images, a minute", key="try digits"):
            session.keep_opened(sources.digits())
            st.rerun()
        if st.button("Shapes: 960 images in colour", key="try shapes"):
            session.keep_opened(sources.shapes())
            st.rerun()


def chooser() -> None:
    """Asks for a source; opening one keeps it for the Train page."""
    with st.container(border=True, key="source"):
        kind: Kind = st.segmented_control(
            "Source", list(KINDS), format_func=KINDS.__getitem__, default="own", required=True, key="source kind"
        )
        if kind == "digits":
            _digits()
        elif kind == "shapes":
            _shapes()
        elif kind == "own":
            _own()
        else:
            _set()
    watch_import()


def _digits() -> None:
    st.caption("1,797 handwritten digits, 8 × 8 grey. Nothing to download; a laptop trains on them in about a minute.")
    if st.button("Use the digits", key="use digits"):
        session.keep_opened(sources.digits())


def _shapes() -> None:
    st.caption(
        "960 drawn shapes on cluttered backgrounds, 32 × 32 in colour. The shape is the class; the colour "
        "misleads. The preset “Shapes” clusters by shape, but without its hue changes it clusters by colour."
    )
    if st.button("Use the shapes", key="use shapes"):
        session.keep_opened(sources.shapes())


def _own() -> None:
    path, asked = _path("Folder or file", "Open", "source path", "~/photos, photos.zip, images.csv …")
    with st.container(horizontal=True, key="squares"):
        fit: Fit = st.segmented_control(
            "Images become squares for training",
            list(FIT_NAMES),
            format_func=FIT_NAMES.__getitem__,
            default="crop",
            required=True,
            key="source fit",
            help="The middle square, the whole image on a border of its mean colour, or the whole image without "
            "regard to its aspect. Galleries show the whole photograph in any case.",
        )
        size = st.number_input(
            "Size",
            4,
            1024,
            None,
            key="source size",
            placeholder="32",
            width=130,
            help="Images are made into squares of this side in pixels. Arrays keep their size unless you choose one.",
        )
    root = ""
    if present.is_table(path):
        root = st.text_input(
            "Folder that the paths in the table start from", key="source root", placeholder="the table's own folder"
        )
    labels = st.checkbox(
        "Use the classes that come with the images, for scores only",
        key="source labels",
        help="Class folders, a column such as label, .cls files in WebDataset shards, an array y.",
    )
    st.caption(
        "A folder with its subfolders · zip or tar (gz, xz, bz2) · CSV, JSON lines or Parquet with paths or with "
        "the images in it · a Hugging Face image folder · NumPy npy or npz · webdataset:FOLDER for tar "
        "shards. The path is on the machine that runs this app. Unreadable files are listed with the reason."
    )
    if asked:
        _begin(path, None if size is None else int(size), labels, root, fit)
    with st.expander("Or drop a file here", key="drop"):
        dropped = st.file_uploader(
            "A zip, tar, table or array", type=list(imports.UPLOADS), key="dropped", label_visibility="collapsed"
        )
        below = ""
        if dropped is not None and present.is_table(dropped.name):
            below = st.text_input(
                "Folder that the paths in the table start from",
                key="dropped root",
                help="On the machine that runs this app. A Parquet table with the images in it needs none.",
            )
        if dropped is not None and st.button("Open this file", key="open dropped"):
            kept = imports.keep_upload(dropped.name, dropped.getbuffer())
            _begin(kept, None if size is None else int(size), labels, below, fit)


def _path(label: str, action: str, key: str, placeholder: str) -> tuple[str, bool]:
    """A path, and whether to open it: Enter in its field does so, like the button."""
    with (
        st.form(f"form of {key}", border=False),
        st.container(horizontal=True, vertical_alignment="bottom", key=f"row of {key}"),
    ):
        path = st.text_input(label, key=key, placeholder=placeholder, width="stretch").strip()
        asked = st.form_submit_button(action, type="primary")
    return path, asked


def _set() -> None:
    known = imports.known_sets()
    name = str(st.selectbox("Set", list(known), format_func=known.__getitem__, key="set name", width=300))
    fetched = imports.downloadable(name)
    path, asked = _path("Folder", "Open the set", f"set path {name}", "empty: download it" if fetched else "location")
    st.caption(
        "A folder with the set as it is distributed. Its classes are used for scores only."
        if fetched
        else "This set cannot be downloaded automatically: give the folder of your ImageNet. Its "
        "classes are used for scores only."
    )
    if asked:
        _begin(f"{name}:{path}" if path else name, None, True, "")


# -- an import -----------------------------------------------------------------------------------


def _begin(source: str, size: int | None, labels: bool, root: str, fit: Fit = "crop") -> None:
    if not source:
        st.warning("Type the path of a folder or a file first.", icon=":material/edit:")
        return
    session.keep_import(imports.begin(source, size, labels, root, fit))


def watch_import() -> None:
    """The import that this visitor is waiting for, redrawn until it ends, or the error of the last one."""
    asked, ended = session.current_import(), session.import_ended()
    if asked is not None:
        st.fragment(_import, run_every=LIVE_SECONDS)(asked)
    elif ended is not None and ended.state == "cancelled":
        st.info("The import was cancelled and left nothing behind.", icon=":material/block:")
    elif ended is not None:
        st.error(session.sentence(ended.message), icon=":material/error:")


def _import(asked: Asked) -> None:
    with session.plain_errors():
        job = imports.look(asked)
        if job is None:  # a tab that waited for the same has taken it over, and had it forgotten
            imports.begin_again(asked)
        elif job.underway:
            _underway(asked, job)
        else:
            if job.opened is not None:
                session.keep_opened(job.opened)
            else:
                session.end_import(job)
            st.rerun()


def _underway(asked: Asked, job: ImportJob) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="import"):
        share, words = present.import_progress(job.state, job.done, job.total)
        st.progress(share, UNCOUNTED.get(job.state, words), width="stretch")
        if job.state == "cancelling":
            return
        paused = job.state == "paused"
        st.button(
            "Continue" if paused else "Pause",
            key="pause import",
            icon=":material/play_arrow:" if paused else ":material/pause:",
            on_click=imports.steer,
            args=(asked, "continue" if paused else "pause"),
        )
        st.button(
            "Cancel", key="cancel import", icon=":material/close:", on_click=imports.steer, args=(asked, "cancel")
        )


def report(opened: Opened) -> None:
    """The opened source: numbers, a sample, class balance with truth, health."""
    images, truth = opened.images, opened.truth
    classes = None if truth is None else len(truth.class_names)
    found = present.facts(images.pixels, classes, len(opened.skipped))
    st.subheader(session.plain(images.source.partition(":")[2] or images.source.capitalize()))
    with st.container(horizontal=True, key="facts"):
        st.metric("Images", f"{found.images:,}", border=True)
        st.metric("Size", found.size, border=True)
        st.metric("Colours", found.colours, border=True)
        if found.classes is not None:
            st.metric("Classes in the truth", found.classes, border=True)
        st.metric("Skipped files", f"{found.skipped:,}", border=True)
    for note in opened.notes:
        st.caption(session.plain(f"{note[:1].upper()}{note[1:]}."))
    _sample(opened)
    if truth is not None:
        with scores.truth_box("balance", "Ground truth"):
            st.markdown("**Images of each class**")
            table = present.class_balance(truth.labels, truth.class_names)
            charts.draw(charts.class_balance(table), "balance", "Images of each class")
    health.show(opened)


def to_train() -> None:
    """A button that leads to the settings of a new run, regardless of the current run."""
    if st.button("Train on these images", key="to train", icon=":material/arrow_forward:"):
        st.session_state["train view next"] = "new"
        st.switch_page("../pages/train.py")


def _sample(opened: Opened) -> None:
    """Some of the images, and the one of them that was clicked."""
    count, found = len(opened.images), originals.pictures_of_source(opened)
    ids = present.sample(count, SAMPLE)
    st.markdown("**All images**" if len(ids) == count else f"**A sample of {len(ids)}**")
    if words := found.stand_in():
        st.caption(session.plain(words))
    known, shown = Known(opened.images.pixels, opened.images.ids), _shown(found)
    if shown >= 0:
        with st.container(horizontal=True, border=True, key="sample image"):
            health.enlarged(found, shown, "sample picture")
            with st.container():
                st.markdown(f"**{session.plain(opened.images.ids[shown])}**")
                st.button("Close", key="close sample", on_click=_show, args=(found.name, None))
    gallery.pictures(
        found.name,
        found,
        ids,
        lambda part: gallery.Page(described(known, ids[part].tolist())),
        gallery.Look(f"sample-{found.name}", side=58, per_page=PER_PAGE),
        current=shown,
        on_open=lambda image: _show(found.name, image),
    )


def _show(of: str, image: int | None) -> None:
    st.session_state["sample image"] = None if image is None else (of, image)


def _shown(found: Pictures) -> int:
    """The image of the sample that is open, -1 for none."""
    of, image = st.session_state.get("sample image") or ("", -1)
    return image if of == found.name else -1
