"""The form of a new run: K, preset, seed, device and every setting with its meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import streamlit as st

from engine.config import SCRATCH, TIMM, RunConfig
from engine.errors import SpiceError
from engine.networks.origins import PROPOSED
from spice_explorer import session
from spice_explorer.present import settings
from spice_explorer.queries import health, training
from spice_explorer.sections.train import choices, forecast

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from engine.sources.open_source import Opened

    Places = list[tuple[settings.Field, DeltaGenerator]]

PRESETS = {
    "quick": "Quick: a small network, minutes on a laptop",
    "photos": "Photographs: a network that knows photographs, minutes on a laptop",
    "fast": "Fast: ResNet-18 with BYOL, for one GPU",
    "paper": "Paper: the published settings, hours on a GPU",
    "shapes": "Shapes: clusters the built-in shapes by shape, not colour; about a minute on a laptop",
    "paper-stl10": "Paper on STL-10: the authors' own settings, days on a GPU",
    "paper-cifar10": "Paper on CIFAR-10: the authors' own settings, days on a GPU",
    "paper-cifar100-20": "Paper on CIFAR-100-20: the authors' own settings, days on a GPU",
    "paper-imagenet10": "Paper on ImageNet-10: the authors' own settings, days on a GPU",
    "paper-imagenet-dogs": "Paper on ImageNet-Dogs: the authors' own settings, days on a GPU",
    "paper-tiny-imagenet": "Paper on Tiny-ImageNet: the authors' own settings, days on a GPU",
}
# Examples of what else stage 1 can begin with; any other is typed.
BEGINNINGS = (
    *(f"{TIMM}{proposed.origin.name}" for proposed in PROPOSED),
    "torchvision:resnet18",
    "torchvision:resnet50",
    "torchvision:vit_b_16",
)


@st.fragment
def new_run() -> None:
    """The whole form; it reruns separately, so that typing stays fast."""
    with session.plain_errors():
        opened, excluded = health.to_train(session.opened())
        _images(opened, len(excluded))
        if choices.larger(opened):
            return
        config, device, wrong = _basics(opened)
        begin = st.container(key="begin")
        places, values = _advanced(config)
        final, errors = settings.apply(config, values)
        errors |= wrong
        for setting, fault in training.faults(final, opened).items():
            errors.setdefault(setting, fault)
        with begin:  # first of all what is not allowed can no longer be started
            _begin(opened, config, final, errors, device)
        _explain(places, errors, settings.advice(final))


def _begin(opened: Opened, config: RunConfig, final: RunConfig, errors: dict[str, str], device: str) -> None:
    """The start button, the differences from the preset, and invalid settings."""
    for error in errors.values():
        st.error(session.sentence(error), icon=":material/error:")
    _changes(config, final)
    if st.button("Start training", type="primary", key="start", disabled=bool(errors), icon=":material/play_arrow:"):
        _start(final, device)
    forecast.ahead(opened, final, device)


def _images(opened: Opened, excluded: int) -> None:
    images = opened.images
    source = images.source.partition(":")[2] or images.source
    height, width = images.size
    whole, out = f"{len(images) + excluded:,} images", f", {excluded:,} left out"
    counted = f"**{len(images):,} of {whole}**" if excluded else f"**{whole}**"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            f"{counted} of {session.plain(source)}, {width} × {height} pixels{out if excluded else ''}", width="content"
        )
        st.page_link("../pages/dataset.py", label="Choose others", icon=":material/photo_library:", width="content")


def _basics(opened: Opened) -> tuple[RunConfig, str, dict[str, str]]:
    """The preset with K and seed, the device, and errors in K and seed: the form stays complete and
    keeps its input."""
    truth = opened.truth
    classes = len(truth.class_names) if truth is not None else 10
    usual = max(2, min(classes, len(opened.images)))
    clusters, preset, seed, device = st.columns([1, 2.4, 1, 1.6])
    k = clusters.number_input(
        "Clusters K",
        value=usual,
        step=1,
        key=f"k-{opened.images.source}",
        help="Number of groups to find. SPICE needs it in advance; too many is better than too few.",
    )
    photographs = settings.photographs(opened.images)
    offered = _offered(opened.images.source, photographs=photographs)
    if st.session_state.get("offered presets") != list(offered):  # for other images the first is right again
        st.session_state.pop("preset", None)
        st.session_state["offered presets"] = list(offered)
    name = preset.selectbox("Preset", offered.keys(), format_func=offered.__getitem__, key="preset")
    number = seed.number_input(
        "Seed", value=0, step=1, key="seed", help="The same seed on the same device gives the same result."
    )
    devices = settings.devices(training.gpus())
    where = device.selectbox("Device", devices, format_func=devices.__getitem__, key="device")
    chosen = training.preset(name, usual, opened.images.channels, 0)
    config, wrong = settings.apply(chosen, {"clusters": int(k), "seed": int(number)})
    if name == choices.PHOTOS:
        config = choices.network(config)
    if photographs:
        choices.table(opened, config, where, offered)
    return config, where, wrong


def _offered(source: str, *, photographs: bool = False) -> dict[str, str]:
    """The presets for any images, and one made for the set that is opened: the shapes' own first, the authors'
    last. For photographs first the one made for them, and last the one that trains a small network from scratch."""
    own = f"paper-{source.partition(':')[0]}"
    of_the_set = {own: PRESETS[own]} if own in PRESETS else {}
    if photographs:
        return {name: PRESETS[name] for name in (choices.PHOTOS, *of_the_set, "fast", "paper", "quick")}
    usual = {name: PRESETS[name] for name in ("quick", "fast", "paper")}
    if source in PRESETS:
        return {source: PRESETS[source], **usual}
    return {**usual, **of_the_set}


def _advanced(config: RunConfig) -> tuple[Places, dict[str, Any]]:
    """Every field with the place for words beside it, and the values by dotted name."""
    places: Places = []
    values: dict[str, Any] = {}
    texts = {"features.source": (SCRATCH, *training.trained_encoders(), *BEGINNINGS)}
    st.html("<div class='spice-label'>All other settings, with their meaning and the paper's value</div>")
    for group in settings.groups(config, texts):
        with st.expander(group.title, key=f"group-{group.name}"):
            for field in group.fields:
                left, right = st.columns([1, 2.6], vertical_alignment="center")
                with left:
                    # A change of preset, of its network or of colour gives every field a fresh start value.
                    key = f"{config.preset}-{config.features.source}-{config.views.weak.flip}-{field.name}"
                    values[field.name] = _input(field, key)
                places.append((field, right))
    return places, values


def _explain(places: Places, errors: dict[str, str], advice: dict[str, str]) -> None:
    """Next to each field its meaning with advice, or why its value conflicts with the others."""
    for field, place in places:
        if field.name in errors:
            place.error(session.sentence(errors[field.name]), icon=":material/error:")
        else:
            place.caption(session.plain(field.help))
            if field.name in advice:
                place.caption(f":material/info: **{session.sentence(advice[field.name])}.**")


def _input(field: settings.Field, key: str) -> Any:
    if field.kind == "choice":
        options = field.options
        if field.free:  # what was typed is an option from then on
            options = tuple(dict.fromkeys([*options, st.session_state.get(key, field.value)]))
        chosen = st.selectbox(
            field.label, options, index=options.index(field.value), key=key, accept_new_options=field.free
        )
        return str(chosen).strip() if field.free else chosen
    if field.kind == "switch":
        return st.toggle(field.label, value=field.value, key=key)
    whole = field.kind == "whole"
    return st.number_input(
        field.label,
        value=field.value,
        step=int(field.step) if whole else field.step,
        format="%d" if whole else "%g",
        key=key,
        placeholder="automatic",
    )


def _changes(config: RunConfig, final: RunConfig) -> None:
    changed = settings.changed(config, settings.flat(final))
    if changed:
        listed = ", ".join(f"{name} = {settings.plain(value)}" for name, value in changed.items())
        st.caption(f"Changed from the preset: {session.plain(listed)}")


def _start(config: RunConfig, device: str) -> None:
    bar = st.empty()

    def told(name: str, done: int, total: int) -> None:
        bar.progress(min(1.0, done / total) if total else 0.0, f"{name}: {done / 1e6:,.0f} of {total / 1e6:,.0f} MB")

    try:
        with st.spinner("Preparing the run…"):
            opened, excluded = health.to_train(session.opened())
            name = training.start(opened, config, device, excluded, told)
    except SpiceError as error:
        st.error(session.sentence(str(error)), icon=":material/error:")
        return
    session.watch_run(name)
    st.rerun()
