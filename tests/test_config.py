from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from engine.config import (
    FeatureSettings,
    JointViews,
    Preset,
    ReliableSettings,
    RunConfig,
    Settings,
    StrongViews,
    ViewSettings,
    WeakViews,
    flat,
    from_dict,
    override,
    parse_value,
    to_dict,
    with_setting,
)
from engine.errors import SettingError
from engine.presets import GLYPH_VIEWS, PAPER, QUICK, preset

# Settings that the paper does not have: the run itself, and our small network.
OURS = {"clusters", "seed", "preset", "encoder.width", "features.hidden", "compute.precision", "compute.compile"}


def described(config: Settings = PAPER, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, value and metadata of every field."""
    for entry in dataclasses.fields(config):
        value = getattr(config, entry.name)
        if isinstance(value, Settings):
            yield from described(value, f"{prefix}{entry.name}.")
        else:
            yield prefix + entry.name, value, entry.metadata


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("heads.epochs", "setting 'heads.epochs' has no value: write it as stage.field=value"),
        ("=3", "there is no '' here; known are clusters, seed"),
        ("head.epochs=3", "there is no 'head' here; known are .*heads"),
        ("heads.epoch=3", "setting heads.epoch: there is no 'epoch' here; known are heads, epochs"),
        ("heads=3", "setting heads: 'heads' is a group, not a field"),
        ("heads.epochs.x=3", "'epochs' is a field and has no parts"),
        ("views.strong=none", "'strong' is a group, not a field"),
        ("heads.epochs=0", "setting heads.epochs: epochs is 0: allowed from 1"),
        ("heads.heads=257", "heads is 257: allowed from 1 to 256"),
        ("heads.epochs=2.5", "epochs is 2.5: expected a whole number"),
        ("heads.epochs=many", "epochs is 'many': expected a whole number"),
        ("heads.epochs=", "epochs is None: expected a whole number"),
        ("heads.epochs=true", "epochs is True: expected a whole number"),
        ("heads.epochs=inf", "epochs is inf: expected a whole number"),
        ("joint.threshold=nan", "threshold is nan: allowed from 0 to 1"),
        ("joint.threshold=1.01", "threshold is 1.01: allowed from 0 to 1"),
        ("joint.threshold=false", "threshold is False: expected a number"),
        ("heads.exclusive=1", "exclusive is 1: expected true or false"),
        ("heads.choose=luck", "choose is 'luck': choose one of loss, consensus, neighbors"),
        ("reliable.neighbors=0", "neighbors is 0: allowed from 1"),
        ("reliable.neighbors=few", "neighbors is 'few': expected a whole number"),
        ("clusters=1", "clusters is 1: allowed from 2"),
        ("seed=-1", "seed is -1: allowed from 0"),
        ("seed=2147483648", "seed is 2147483648: allowed from 0 to 2147483647"),
    ],
)
def test_a_wrong_setting_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        override(QUICK, assignment)


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("heads.epochs=7", 7),
        ("heads.epochs = 1e2", 100),
        ("joint.threshold=1", 1.0),
        ("joint.threshold=.5", 0.5),
        ("heads.exclusive=True", True),
        ("heads.exclusive=false", False),
        ("reliable.neighbors=none", None),
        ("reliable.neighbors=", None),
        ("reliable.neighbors=20", 20),
        ("heads.choose=consensus", "consensus"),
        ("views.strong.tones=light", "light"),
        ("clusters=3", 3),
    ],
)
def test_a_setting_is_changed_and_nothing_else(assignment: str, value: object) -> None:
    name = assignment.partition("=")[0].strip()
    changed = flat(override(PAPER, assignment))
    assert changed == {**flat(PAPER), name: value}
    assert type(changed[name]) is type(value)


def test_text_becomes_the_first_kind_that_fits() -> None:
    found = [parse_value(text) for text in ("", "None", "TRUE", "-3", "1e-3", "simclr")]
    assert found == [None, None, True, -3, 0.001, "simclr"]


def test_settings_cannot_be_changed_or_given_by_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        QUICK.clusters = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        ReliableSettings(3)  # type: ignore[call-arg]


def test_settings_come_back_from_json() -> None:
    for config in (QUICK, PAPER, override(QUICK, "reliable.neighbors=12")):
        assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clusters": 3, "colour": 1, "age": 2}, "unknown settings age, colour in RunConfig"),
        ({"heads": {"hats": 1}}, "unknown settings hats in HeadSettings"),
        ({"heads": 3}, "HeadSettings is 3: expected settings by name"),
        ({"clusters": {}}, "clusters is {}: expected a whole number"),
        ({"clusters": 1}, "clusters is 1: allowed from 2"),
        ([], r"RunConfig is \[\]: expected settings by name"),
    ],
)
def test_stored_settings_that_do_not_fit_are_refused(values: Any, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        from_dict(values)


def test_what_was_not_stored_has_its_default() -> None:
    assert from_dict({"clusters": 4, "heads": {"epochs": 2}}).heads.heads == 10


def test_a_preset_takes_clusters_and_seed() -> None:
    config = preset("paper", clusters=7, channels=3, seed=5)
    assert (config.clusters, config.seed, config.preset) == (7, 5, "paper")
    assert config.views == PAPER.views


def test_grey_images_get_views_without_mirrors_and_colours() -> None:
    views = preset("quick", clusters=2, channels=1).views
    assert views == GLYPH_VIEWS
    assert (views.contrastive.flip, views.weak.flip, views.strong.flip) == (0, 0, 0)
    assert (views.contrastive.jitter, views.strong.tones) == (0, "light")


def test_unknown_presets_and_impossible_clusters_are_refused() -> None:
    with pytest.raises(SettingError, match="preset is 'swift': choose one of quick, fast, paper"):
        preset("swift", clusters=3, channels=3)
    with pytest.raises(SettingError, match="clusters is 1: allowed from 2"):
        preset("quick", clusters=1, channels=3)


def test_every_setting_says_what_it_means_and_what_the_paper_took() -> None:
    found = list(described())
    assert all(metadata["meaning"] for _, _, metadata in found)
    assert {name for name, _, metadata in found if metadata["paper"] is None} == OURS


def test_every_value_of_the_paper_is_one_its_field_takes() -> None:
    for name, _, metadata in described():
        if name not in OURS:
            paper = metadata["paper"]
            assert flat(with_setting(QUICK, name, paper))[name] == paper


def test_the_paper_preset_departs_from_the_paper_in_what_is_listed_here_only() -> None:
    departures = {name for name, value, metadata in described() if name not in OURS and value != metadata["paper"]}
    assert departures == {"reliable.agreement", "reliable.confidence", "joint.start"}


def test_numbers_take_the_kind_of_their_field() -> None:
    settings = FeatureSettings(epochs=3.0, temperature=1)  # type: ignore[arg-type]
    assert (type(settings.epochs), type(settings.temperature)) == (int, float)


def test_no_epochs_are_for_an_encoder_that_was_trained_before() -> None:
    with pytest.raises(SettingError, match=r"features.epochs is 0, but .* random weights"):
        override(QUICK, "features.epochs=0")
    both = ("features.epochs=0", "features.source=encoder:birds")
    for order in (both, both[::-1]):
        assert override(QUICK, *order).features.epochs == 0


def test_settings_of_an_older_run_get_todays_defaults() -> None:
    older = to_dict(PAPER)
    new = {"features": ("source", "hidden", "coarse"), "joint": ("adapt", "reselect")}
    del older["compute"]
    for group, names in new.items():
        for name in names:
            del older[group][name]
    assert from_dict(json.loads(json.dumps(older))) == PAPER
    assert (PAPER.features.source, PAPER.joint.adapt) == ("scratch", "fixed")


# Views as runs kept them while stages 2 and 3 had one group of strong views: of `paper-stl10` and of grey images.
EARLIER = {
    "paper-stl10": """{"contrastive": {"crop": 0.2, "flip": 0.5},
        "weak": {"flip": 0.5, "shift": 0.125},
        "strong": {"flip": 0.5, "operations": 4, "rotation": 30.0, "shear": 0.3, "shift": 0.3, "tones": "all",
        "cutout": 0.25}}""",
    "quick": """{"contrastive": {"crop": 1.0, "flip": 0.0},
        "weak": {"flip": 0.0, "shift": 0.075},
        "strong": {"flip": 0.0, "operations": 4, "rotation": 20.0, "shear": 0.25, "shift": 0.125, "tones": "light",
        "cutout": 0.375}}""",
}


@pytest.mark.parametrize("name", EARLIER)
def test_both_stages_of_an_earlier_run_have_the_strong_views_it_had(name: str) -> None:
    views = from_dict({"preset": name, "views": json.loads(EARLIER[name])}).views
    grey = name == "quick"
    own = {"flip": 0, "rotation": 20, "shear": 0.25, "shift": 0.125, "tones": "light"} if grey else {}
    # What could not be chosen then: factors of .1 to 1.9, thresholds from .3, the edge repeated, no padding.
    fixed = {"lowest_factor": 0.1, "highest_factor": 1.9, "solarise": 0.3, "edge": "repeat", "padding": 0}
    cutout = 0.375 if grey else 0.25
    assert views.strong == StrongViews(operations=4, cutout=cutout, **own, **fixed)
    assert views.joint == JointViews(operations=4, cutout=cutout, **own, **fixed)
    shift = 0.075 if grey else 0.125
    assert views.weak == WeakViews(flip=0 if grey else 0.5, shift=shift, padding=0, edge="mirror")


def test_views_of_today_are_read_as_they_were_stored() -> None:
    views = ViewSettings(strong=StrongViews(cutout=0.25), joint=JointViews(cutout=0.75))
    assert from_dict(json.loads(json.dumps(to_dict(RunConfig(views=views))))).views == views


@pytest.mark.parametrize("group", ["strong", "joint"])
def test_the_lowest_factor_is_not_above_the_highest(group: str) -> None:
    message = rf"views.{group}.lowest_factor is 1.5, but views.{group}.highest_factor is 1.2: choose a lowest factor"
    both = (f"views.{group}.lowest_factor=1.5", f"views.{group}.highest_factor=1.2")
    for order in (both, both[::-1]):
        with pytest.raises(SettingError, match=message):
            override(QUICK, *order)
    higher = (f"views.{group}.lowest_factor=1.95", f"views.{group}.highest_factor=2")
    assert getattr(override(QUICK, *higher).views, group).lowest_factor == 1.95


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fast_preset_is_stored_and_read_like_any_other(channels: int) -> None:
    config = preset("fast", clusters=7, channels=channels, seed=2)
    assert (config.preset, config.clusters, config.seed) == ("fast", 7, 2)
    assert (config.features.objective, config.encoder.backbone) == ("byol", "resnet18")
    usual = RunConfig().views
    byol = dataclasses.replace(usual, contrastive=dataclasses.replace(usual.contrastive, crop=0.08, blur=0))
    assert config.views == (GLYPH_VIEWS if channels == 1 else byol)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize("channels", [1, 3])
def test_the_fast_preset_flips_photographs_only(channels: int) -> None:
    assert preset("fast", clusters=3, channels=channels).views.weak.flip == (channels - 1) / 4


# From the authors' configurations: K, network, epochs and queue of stage 1, rounds and M of stage 2,
# Cutout in pixels of the side, agreement.
AUTHORS = {
    "paper-stl10": (10, "resnet34", 1000, 65_536, 200, 5000, (32, 96), 0.90),
    "paper-cifar10": (10, "resnet18", 1000, 12_800, 300, 5000, (16, 32), 0.99),
    "paper-cifar100-20": (20, "resnet34", 1000, 12_800, 500, 10_000, (16, 32), 0.99),
    "paper-imagenet10": (10, "resnet34", 5000, 12_800, 200, 5000, (32, 224), 0.90),
    "paper-imagenet-dogs": (15, "resnet34", 3000, 12_800, 200, 8000, (32, 224), 0.90),
    "paper-tiny-imagenet": (200, "resnet34", 1000, 12_800, 500, 20_000, (32, 64), 0.90),
}


@pytest.mark.parametrize("name", ["paper", *AUTHORS])
def test_the_authors_views_differ_between_stages_2_and_3(name: str) -> None:
    views = preset(name, channels=3).views
    tones = {"lowest_factor": 0.05, "highest_factor": 0.95, "solarise": 0, "tones": "all", "edge": "black"}
    cutout, side = AUTHORS[name][6] if name in AUTHORS else (16, 32)
    assert views.weak == WeakViews(flip=0.5, shift=0, padding=4, edge="black")
    assert views.strong == StrongViews(
        operations=4, rotation=30, shear=0.1, shift=0.1, cutout=cutout / side, padding=0, **tones
    )
    assert views.joint == JointViews(
        flip=0.5, operations=3, rotation=30, shear=0.3, shift=0.3, cutout=0.5, padding=4, **tones
    )


def test_a_batch_of_the_paper_is_normalised_in_groups_of_32() -> None:
    features = preset("paper", channels=3).features
    assert (features.batch, features.norm_groups) == (128, 4)
    assert all(preset(name, channels=3).features.norm_groups == 8 for name in ("quick", "fast", "shapes", "photos"))


@pytest.mark.parametrize("name", AUTHORS)
def test_a_set_of_the_paper_has_the_authors_values_and_else_those_of_paper(name: str) -> None:
    k, network, epochs, queue, rounds, images, (cutout, side), agreement = AUTHORS[name]
    expected = {
        "clusters": k,
        "preset": name,
        "encoder.backbone": network,
        "features.epochs": epochs,
        "features.queue": queue,
        "heads.epochs": rounds,
        "heads.images": images,
        "views.strong.cutout": cutout / side,
        "reliable.agreement": agreement,
    }
    config = preset(name, channels=3)
    assert flat(config) == flat(PAPER) | expected
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_every_set_of_the_paper_has_a_preset_and_a_round_has_images_for_each_cluster() -> None:
    assert {one for one in get_args(Preset) if one.startswith("paper-")} == set(AUTHORS)
    for name in AUTHORS:
        config = preset(name, channels=3)
        assert config.heads.center_ratio * config.heads.images / config.clusters >= 50


def test_the_shapes_preset_turns_every_hue_and_is_stored_like_any_other() -> None:
    config = preset("shapes", channels=3, seed=4)
    assert (config.preset, config.clusters, config.seed) == ("shapes", 4, 4)
    assert config.views.contrastive.hue == 0.5
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config
    seeing = with_setting(config, "views.contrastive.hue", 0)
    changed = {name for name, value in flat(config).items() if flat(seeing)[name] != value}
    assert changed == {"views.contrastive.hue"}


def test_a_number_of_clusters_goes_before_the_preset_s_own() -> None:
    assert preset("paper-imagenet-dogs", clusters=7, channels=3).clusters == 7
    with pytest.raises(SettingError, match="clusters is 0: allowed from 2"):
        preset("paper-imagenet-dogs", clusters=0, channels=3)


@pytest.mark.parametrize(
    ("name", "images", "epochs"),
    [
        ("paper", 50_000, 30),
        ("paper-cifar10", 50_000, 30),
        ("paper-cifar100-20", 50_000, 100),
        ("paper-stl10", 13_000, 100),
        ("paper-imagenet10", 13_000, 100),
        ("paper-imagenet-dogs", 19_500, 100),
        ("paper-tiny-imagenet", 100_000, 100),
    ],
)
def test_the_papers_presets_have_n_over_m_rounds_in_each_of_the_authors_epochs(
    name: str, images: int, epochs: int
) -> None:
    heads = preset(name, channels=3).heads
    assert heads.epochs == epochs * (images // heads.images)
