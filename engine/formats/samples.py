"""The samples of WebDataset: files in a tar that belong together, and which of them is the image.

A sample is called by its stem: 0001.cls, 0001.json, 0001.png and 0001.seg.png are the sample 0001.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from engine.errors import SourceError
from engine.formats.bounds import check_gaps

if TYPE_CHECKING:
    import pandas as pd

SIDECARS = frozenset({".cls", ".json", ".txt"})
# Names of the part that is the image, in samples with several: 0001.image.png beside 0001.depth.png.
IMAGE_PARTS = ("image", "img", "rgb", "input", "photo")
NOT_OF_ITS_OWN = "a picture about {image}, not an image of its own"
# Names of folders whose pictures are about those of the same names in a folder beside, one of _IMAGE_FOLDERS.
_MASKS = {"mask", "masks", "seg", "segs", "segmentation", "segmentations", "trimap", "trimaps"}
_ABOUT = frozenset({*_MASKS, "label", "labels", "annotation", "annotations", "depth", "depths", "gt", "groundtruth"})
_IMAGE_FOLDERS = frozenset({*IMAGE_PARTS, "images", "imgs", "inputs", "photos", "jpegimages"})


def _stem(name: str) -> str:
    """Not by os.path.splitext, which leaves hidden names whole."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)


def companions(names: Iterable[str]) -> dict[str, str]:
    """Pictures that are about another one, such as masks, by the image that each is about.

    >>> companions(["images/1.jpg", "masks/1.png", "masks/2.png", "cats/1.jpg"])
    {'masks/1.png': 'images/1.jpg'}
    """
    images: dict[str, str] = {}
    about: list[tuple[str, str]] = []
    for name in names:
        parts = _stem(name).split("/")
        for place, folder in enumerate(parts[:-1]):
            beside = "/".join([*parts[:place], "", *parts[place + 1 :]])
            if folder.lower() in _IMAGE_FOLDERS:
                images[beside] = name
            elif folder.lower() in _ABOUT:
                about.append((name, beside))
    return {name: images[beside] for name, beside in about if beside in images}


@dataclass
class Samples:
    """The classes and values beside the images of a tar.

    Attributes:
        declared: whether the source was called WebDataset, so that images alone are samples, too.
        classes, tables: the contents of .cls and .json by sample.
        stems: the samples that have a file that is no image.
        of: the sample of each image.
        unread: how many .txt files there are.
        read: bytes of the .json files.
    """

    declared: bool = False
    classes: dict[str, str] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    stems: set[str] = field(default_factory=set)
    of: dict[str, str] = field(default_factory=dict)
    unread: int = 0
    read: int = 0

    def add(self, name: str) -> None:
        """Names a sample, by a file that is no image."""
        self.stems.add(_stem(name))

    def take(self, name: str, ending: str, content: bytes) -> None:
        """Takes the content of a .cls or .json; of two for one sample, the last counts. Raises SourceError."""
        stem = _stem(name)
        if ending == ".cls":
            self.classes[stem] = content.decode("utf-8-sig", "replace").strip()
            return
        try:
            found = json.loads(content)
        except ValueError as error:
            raise SourceError(f"is not JSON: {error}") from None
        except RecursionError:
            raise SourceError("is nested too deeply: expected values with names") from None
        if not isinstance(found, dict):
            raise SourceError('holds no JSON object: expected values with names, such as {"label": "cat"}')
        self.tables[stem] = {k: v for k, v in found.items() if isinstance(v, (str, int, float, bool))}
        self.read += len(content)

    def further(self, names: Iterable[str]) -> dict[str, str]:
        """Puts the images into their samples; returns the other pictures of samples that have one image: its name
        by theirs."""
        pictures = defaultdict(list)
        images = {_stem(name) for name in names} if self.declared else set()
        for name in names:
            stem = _stem(name)
            sample = _sample(stem, self.stems)
            if sample == stem and stem not in self.stems:  # 0001.seg.png beside 0001.png, without any other file
                first = stem.rpartition(".")[0]
                sample = _sample(first, images) if _sample(first, images) in images else stem
            self.of[name] = sample
            pictures[self.of[name]].append(name)
        found: dict[str, str] = {}
        for sample, several in pictures.items():
            image = _image(sample, several)
            if image is not None:
                found |= {name: image for name in several if _stem(name) != _stem(image)}
        return found

    def notes(self) -> tuple[str, ...]:
        return (f"{self.unread:,} .txt files beside the images are not read",) if self.unread else ()

    def rows(self, names: Sequence[str]) -> pd.DataFrame:
        """The values from the .json files, one row per image; raises SourceError where they have too many names."""
        import pandas as pd

        keys = set().union(*self.tables.values())
        check_gaps("what the .json files say", len(names), len(keys), self.read)
        return pd.DataFrame([self.tables.get(self.of[name], {}) for name in names])

    def classes_of(self, names: Sequence[str]) -> list[str] | None:
        """The class of each image from the .cls files, None if there are none; raises SourceError if some have none."""
        if not self.classes:
            return None
        found = [self.classes.get(self.of[name]) or None for name in names]
        given = [one for one in found if one is not None]
        if len(given) < len(found):
            first = names[found.index(None)]
            beside = "an empty .cls" if self.of[first] in self.classes else "no .cls"
            raise SourceError(
                f"labels were requested, but {len(found) - len(given)} images have no class ({first} has {beside} "
                "beside it): open the images without labels"
            )
        return given


def _sample(stem: str, stems: set[str]) -> str:
    """The sample that an image with this stem belongs to: the longest that it begins with, up to a dot."""
    left = stem
    while left not in stems:
        left, dot, last = left.rpartition(".")
        if not dot or "/" in last:
            return stem
    return left


def _image(sample: str, pictures: Sequence[str]) -> str | None:
    """The image of a sample: the one that is called like it, or whose part is; None if all of them are."""
    plain = [name for name in pictures if _stem(name) == sample]
    if plain or len(pictures) < 2:
        return plain[0] if plain else None
    parts = {name: _stem(name)[len(sample) + 1 :].lower() for name in pictures}
    named = [name for name in pictures if parts[name] in IMAGE_PARTS]
    return named[0] if len(named) == 1 else None
