"""CVAT for images: what its XML says, of which picture. benchmarks/consumers opens the same with Datumaro."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
from PIL import Image

from engine.curate.provenance import Provenance
from engine.exports.formats import cvat
from engine.runs.folder import RunFolder
from tests.exports.conftest import Content, DoExport, expected, labels_of, pixels_of
from tests.two_colours import turned

Decide = Callable[..., None]


def parsed(file: Path) -> ElementTree.Element:
    return ElementTree.parse(file).getroot()


def in_xml(file: Path, images: Path) -> Content:
    """Class names with pixels."""
    found: Content = Counter()
    for one in parsed(file).iter("image"):
        (tag,) = one
        found[tag.attrib["label"], pixels_of((images / one.attrib["name"]).read_bytes())] += 1
    return found


def test_each_image_has_a_tag_that_says_who_gave_it(
    run: RunFolder, photos: Path, decide: Decide, export: DoExport, tmp_path: Path
) -> None:
    decide("accept", [0])
    decide("accept", [1], provenance=Provenance.BULK)
    decide("accept", [2], provenance=Provenance.VOTED)
    decide("reject", [3])
    decide("exclude", [4])
    export("cvat")
    root = parsed(tmp_path / "out" / "annotations.xml")
    assert [one.findtext("name") for one in root.iterfind("meta/task/labels/label")] == [
        f"Cluster {k}" for k in (0, 1, 2)
    ]
    every = list(root.iter("image"))
    kept = [row for row in range(40) if row not in (3, 4)]
    assert in_xml(tmp_path / "out" / "annotations.xml", tmp_path / "out" / "images") == expected(photos, run, kept)
    assert [one.attrib["id"] for one in every] == [str(place) for place in range(38)]
    assert [one[0].attrib["source"] for one in every] == ["manual", "manual", "semi-auto"] + ["auto"] * 35
    assert {(one.attrib["width"], one.attrib["height"]) for one in every} == {("12", "12")}
    table = pd.read_csv(tmp_path / "out" / "labels.csv")
    assert [Path(one).name for one in table["exported_as"]] == [one.attrib["name"] for one in every]


def test_each_part_of_a_split_is_a_file(run: RunFolder, photos: Path, export: DoExport, tmp_path: Path) -> None:
    export("cvat", split="80,10,10")
    assert sorted(one.name for one in (tmp_path / "out").glob("*.xml")) == ["test.xml", "train.xml", "validation.xml"]
    parts = ("train", "validation", "test")
    found = [in_xml(tmp_path / "out" / f"{one}.xml", tmp_path / "out" / "images" / one) for one in parts]
    assert sum(found, Counter()) == expected(photos, run)


def test_any_class_name_is_read_as_it_was_given(decide: Decide, export: DoExport, tmp_path: Path) -> None:
    names = ['<a> & "b"', "käse, 'so'", "猫"]
    for class_, name in enumerate(names):
        decide("rename", class_=class_, text=name)
    export("cvat")
    tags = [one.attrib["label"] for one in parsed(tmp_path / "out" / "annotations.xml").iter("tag")]
    assert tags == [names[label] for label in labels_of(40)]
    assert cvat._said("a\x00b\ud800c") == "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c"


def test_a_photograph_has_its_size_upright(tmp_path: Path) -> None:
    (tmp_path / "turned.jpg").write_bytes(turned())
    with Image.open(tmp_path / "turned.jpg") as image:
        assert cvat._size(tmp_path / "turned.jpg") == image.size[::-1]
