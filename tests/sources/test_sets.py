"""Every benchmark set, as a small tree in the form in which it is distributed."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import struct
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torchvision.datasets
from PIL import Image
from scipy.io import savemat

from engine.data.listing import Listing
from engine.data.truth import Truth
from engine.errors import SourceError
from engine.sources import set_files
from engine.sources.set_layouts import (
    CIFAR10_CLASSES,
    CIFAR100_SUPERCLASSES,
    EUROSAT_CLASSES,
    FASHION_CLASSES,
    IMAGENET10,
    IMAGENET_DOGS,
    STL10_CLASSES,
)
from engine.sources.sets import SETS, SetBlocks, SetFiles, set_source


def picture(path: Path, colour: Any = 128, mode: str = "RGB", side: int = 8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (side, side), colour).save(path)
    return path


def blocks(name: str, root: Path) -> SetBlocks:
    source = set_source(name, str(root))
    assert isinstance(source, SetBlocks)
    return source


def files(name: str, root: Path) -> SetFiles:
    source = set_source(name, str(root))
    assert isinstance(source, SetFiles)
    return source


def pixels(source: SetBlocks) -> np.ndarray:
    return np.concatenate(list(source.blocks()))


def read(source: SetBlocks) -> None:
    source.listing()
    pixels(source)


def truth(listing: Listing) -> Truth:
    assert listing.truth is not None
    return listing.truth


def classes(listing: Listing) -> dict[str, str]:
    """The name of each image's class."""
    found = truth(listing)
    return {name: found.class_names[label] for name, label in zip(listing.names, found.labels, strict=True)}


def where(source: SetFiles, listing: Listing) -> list[Path]:
    return [Path(source.reader()(key)) for key in listing.keys]  # type: ignore[misc]


# -- CIFAR -------------------------------------------------------------------------------------


class _Python2(pickle._Pickler):
    """Writes texts, bytes and array types like Python 2, which wrote CIFAR's files."""

    def _string(self, value: str | bytes) -> None:
        raw = value if isinstance(value, bytes) else value.encode()
        self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    def reducer_override(self, value: object) -> Any:
        if isinstance(value, np.dtype):
            return np.dtype, (value.str[1:], 0, 1), (3, value.str[0], None, None, None, -1, -1, 0)
        return NotImplemented

    dispatch: ClassVar = {**pickle._Pickler.dispatch, str: _string, bytes: _string}


def python2(content: object) -> bytes:
    file = io.BytesIO()
    _Python2(file, 2).dump(content)
    return file.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)


def cifar10(folder: Path, **changes: object) -> None:
    """Five files: number i contains two images of value i and class i."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, 6):
        content = {
            "batch_label": f"training batch {number} of 5",
            "data": np.full((2, 3072), number, np.uint8),
            "labels": [number, number],
            "filenames": ["a.png", "b.png"],
            **changes,
        }
        left = {key: value for key, value in content.items() if value is not None}
        (folder / f"data_batch_{number}").write_bytes(python2(left))


def cifar100(folder: Path, **changes: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "data": np.arange(3, dtype=np.uint8)[:, None].repeat(3072, 1),
        "fine_labels": [11, 97, 4],
        "coarse_labels": [14, 8, 0],
        **changes,
    }
    (folder / "train").write_bytes(python2(content))
    (folder / "meta").write_bytes(python2({"coarse_label_names": ["?"] * 20}))


class _Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("below", ["", "cifar-10-batches-py"])
def test_cifar10_from_its_pickles(below: str, tmp_path: Path) -> None:
    cifar10(tmp_path / below)
    source = blocks("cifar10", tmp_path)
    listing, values = source.listing(), [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert pixels(source).shape == (10, 3, 32, 32)
    assert pixels(source)[:, 2, 31, 31].tolist() == values
    assert (listing.names[0], listing.names[-1]) == ("train-00000", "train-00009")
    assert truth(listing).labels.tolist() == values
    assert truth(listing).class_names == CIFAR10_CLASSES
    assert (source.text, source.side, source.extra) == (f"cifar10:{tmp_path}", None, None)


def test_cifar10_from_pickles_of_todays_python(tmp_path: Path) -> None:
    cifar10(tmp_path)
    content = {b"data": np.full((2, 3072), 77, np.uint8), b"labels": [9, 9]}
    (tmp_path / "data_batch_5").write_bytes(pickle.dumps(content, protocol=4))
    source = blocks("cifar10", tmp_path)
    assert truth(source.listing()).labels[-2:].tolist() == [9, 9]
    assert pixels(source)[-1, 0, 0, 0] == 77


def test_cifar_planes_are_red_green_blue_and_rows_run_from_left_to_right(tmp_path: Path) -> None:
    data = np.zeros((2, 3072), np.uint8)
    data[:, 1024 + 32 * 2 + 5] = 200
    cifar10(tmp_path, data=data)
    assert np.argwhere(pixels(blocks("cifar10", tmp_path))[0]).tolist() == [[1, 2, 5]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [1]}, "data_batch_1 is not a CIFAR batch: cannot reshape"),
        ({"labels": ["cat", "dog"]}, "data_batch_1 is not a CIFAR batch: invalid literal"),
        ({"labels": [3, 10]}, "data_batch_1 holds the label 10: expected 0 to 9"),
        ({"labels": [-1, 3]}, "data_batch_1 holds the label -1: expected 0 to 9"),
        ({"labels": None}, "data_batch_1 is not a CIFAR batch: it has no b'labels'"),
        ({"data": np.zeros((2, 3000), np.uint8)}, "data_batch_1 is not a CIFAR batch: cannot"),
        ({"data": np.zeros((2, 3072))}, "its pixels are float64, not uint8"),
        ({"data": "nothing"}, "data_batch_1 is not a CIFAR batch"),
    ],
)
def test_cifar_files_that_do_not_fit_are_refused(changes: dict[str, object], message: str, tmp_path: Path) -> None:
    cifar10(tmp_path, **changes)
    with pytest.raises(SourceError, match=message):
        blocks("cifar10", tmp_path).listing()


def test_cifar10_with_a_file_missing_or_cut_is_refused(tmp_path: Path) -> None:
    cifar10(tmp_path)
    whole = (tmp_path / "data_batch_3").read_bytes()
    for damaged in (whole[:100], whole[5:], b"", b"no pickle", pickle.dumps([1, 2])):
        (tmp_path / "data_batch_3").write_bytes(damaged)
        with pytest.raises(SourceError, match="data_batch_3 is not a CIFAR batch"):
            blocks("cifar10", tmp_path).listing()
    (tmp_path / "data_batch_3").unlink()
    for ask in (SetBlocks.listing, SetBlocks.stamp):
        with pytest.raises(SourceError, match=r"data_batch_3 cannot be read: No such file"):
            ask(blocks("cifar10", tmp_path))


@pytest.mark.parametrize("place", ["data", "labels", "batch_label", "filenames"])
def test_a_pickle_that_wants_to_run_code_is_refused_unrun(place: str, tmp_path: Path) -> None:
    cifar10(tmp_path, **{place: _Trap(tmp_path / "trapped")})
    with pytest.raises(SourceError, match=r"data_batch_1 is not a CIFAR batch: it asks for"):
        read(blocks("cifar10", tmp_path))
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    "code",
    [
        b"cos\nsystem\n(S'mkdir trapped'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy\nndarray.tofile\n.",
    ],
)
def test_hand_written_pickles_reach_nothing_else(code: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cifar10(tmp_path)
    (tmp_path / "data_batch_1").write_bytes(b"\x80\x02" + code)
    with pytest.raises(SourceError, match="data_batch_1 is not a CIFAR batch: it asks for"):
        blocks("cifar10", tmp_path).listing()
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("below", ["", "train"])
def test_cifar10_from_class_folders(below: str, tmp_path: Path) -> None:
    for value, name in enumerate(CIFAR10_CLASSES):
        picture(tmp_path / below / name / "1.png", (value, 0, 0), side=32)
    picture(tmp_path / below / "frog" / "more" / "0.jpg", (6, 0, 0), side=32)
    picture(tmp_path / "test" / "cat" / "2.png", (99, 0, 0), side=32)
    source = files("cifar10", tmp_path)
    listing = source.listing()
    assert listing.names[3:8] == ("cat/1.png", "deer/1.png", "dog/1.png", "frog/1.png", "frog/more/0.jpg")
    assert list(listing.names) == sorted(listing.names)
    assert truth(listing).labels.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9]
    assert truth(listing).class_names == CIFAR10_CLASSES
    shown = [Image.open(path).getpixel((0, 0)) for path in where(source, listing)]
    assert shown[:4] == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0)]
    assert source.side == 32


def test_class_folders_without_images_are_refused(tmp_path: Path) -> None:
    for name in CIFAR10_CLASSES:
        (tmp_path / name).mkdir()
    with pytest.raises(SourceError, match="holds no image files"):
        files("cifar10", tmp_path).listing()


@pytest.mark.parametrize("below", ["", "cifar-100-python"])
def test_cifar100_has_its_20_superclasses(below: str, tmp_path: Path) -> None:
    cifar100(tmp_path / below)
    source = blocks("cifar100-20", tmp_path)
    assert classes(source.listing()) == {
        "train-00000": "people",
        "train-00001": "large carnivores",
        "train-00002": "aquatic mammals",
    }
    assert truth(source.listing()).class_names == CIFAR100_SUPERCLASSES
    assert pixels(source)[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_cifar100_beyond_its_superclasses_is_refused(tmp_path: Path) -> None:
    cifar100(tmp_path, coarse_labels=[14, 20, 0])
    with pytest.raises(SourceError, match="train holds the label 20: expected 0 to 19"):
        blocks("cifar100-20", tmp_path).listing()
    cifar100(tmp_path, data=_Trap(tmp_path / "trapped"))
    with pytest.raises(SourceError, match="train is not a CIFAR batch: it asks for"):
        blocks("cifar100-20", tmp_path).listing()
    assert not (tmp_path / "trapped").exists()


# -- STL-10 ------------------------------------------------------------------------------------


def stl10(folder: Path, unlabelled: int = 3) -> np.ndarray:
    """Two training and three test images, (5, 3, 96, 96), written column by column."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 5 + unlabelled
    images = noise(count, 3, 96, 96)
    columns = images.transpose(0, 1, 3, 2)
    columns[:2].tofile(folder / "train_X.bin")
    columns[2:5].tofile(folder / "test_X.bin")
    np.array([1, 10], np.uint8).tofile(folder / "train_y.bin")
    np.array([4, 4, 2], np.uint8).tofile(folder / "test_y.bin")
    if unlabelled:
        columns[5:].tofile(folder / "unlabeled_X.bin")
    (folder / "class_names.txt").write_text("\n".join(STL10_CLASSES))
    return images


@pytest.mark.parametrize("below", ["", "stl10_binary"])
def test_stl10_is_read_row_by_row_and_its_classes_count_from_1(below: str, tmp_path: Path) -> None:
    images = stl10(tmp_path / below)
    source = blocks("stl10", tmp_path)
    assert classes(source.listing()) == {
        "train-00000": "airplane",
        "train-00001": "truck",
        "test-00000": "cat",
        "test-00001": "cat",
        "test-00002": "bird",
    }
    assert (pixels(source) == images[:5]).all()
    assert next(source.blocks()).flags.c_contiguous


def test_stl10_has_its_unlabelled_images_for_stage_1(tmp_path: Path) -> None:
    images = stl10(tmp_path)
    source = blocks("stl10", tmp_path)
    extra = source.extra
    assert extra is not None
    assert extra.listing().names == ("unlabeled-00000", "unlabeled-00001", "unlabeled-00002")
    assert extra.listing().truth is None
    assert (pixels(extra) == images[5:]).all()
    assert extra.place != source.place


def test_stl10_without_its_unlabelled_images_is_opened_all_the_same(tmp_path: Path) -> None:
    stl10(tmp_path, unlabelled=0)
    assert blocks("stl10", tmp_path).extra is None


def test_images_do_not_depend_on_how_many_are_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stl10(tmp_path / "stl")
    cifar10(tmp_path / "cifar")
    mnist(tmp_path / "mnist", count=7)
    sources = [
        blocks("stl10", tmp_path / "stl"),
        blocks("cifar10", tmp_path / "cifar"),
        blocks("mnist", tmp_path / "mnist"),
    ]
    whole = [pixels(source) for source in sources]
    monkeypatch.setattr(set_files, "PIECE", 2 * 27_648 + 1)
    assert [len(block) for block in sources[0].blocks()] == [2, 2, 1]
    monkeypatch.setattr(set_files, "PIECE", 3073)
    assert [len(block) for block in sources[2].blocks()] == [3, 3, 1]
    assert [len(block) for block in sources[1].blocks()] == [1] * 10
    for source, expected in zip(sources[1:], whole[1:], strict=True):
        assert (pixels(source) == expected).all()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train_X.bin", bytes(27_648 + 5), "train_X.bin is truncated or not from STL-10: its 27,653"),
        ("test_X.bin", b"", "test_X.bin is truncated or not from STL-10: its 0 bytes"),
        ("test_y.bin", bytes((4, 4)), "test_y.bin holds 2 labels for the 3 images of test_X.bin"),
        ("train_y.bin", bytes((0, 1)), "train_y.bin holds the label 0: expected 1 to 10"),
        ("test_y.bin", bytes((1, 11, 2)), "test_y.bin holds the label 11: expected 1 to 10"),
        ("test_X.bin", None, "test_X.bin cannot be read: No such file"),
        ("train_y.bin", None, "train_y.bin cannot be read: No such file"),
    ],
)
def test_stl10_files_that_do_not_fit_are_refused(
    file: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    stl10(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        blocks("stl10", tmp_path).listing()


def test_unlabelled_images_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    stl10(tmp_path)
    (tmp_path / "unlabeled_X.bin").write_bytes(bytes(100))
    extra = blocks("stl10", tmp_path).extra
    assert extra is not None
    with pytest.raises(SourceError, match=r"unlabeled_X\.bin is truncated"):
        extra.listing()


# -- MNIST -------------------------------------------------------------------------------------


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">4B{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def mnist(folder: Path, count: int = 3, ending: str = "") -> np.ndarray:
    """Images of 28×28: number i has grey value i and class i."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.arange(count, dtype=np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
    images[0, 1, 2] = 255
    packed: Callable[[bytes], bytes] = gzip.compress if ending else bytes
    (folder / f"train-images-idx3-ubyte{ending}").write_bytes(packed(idx(images)))
    labels = np.arange(count, dtype=np.uint8)
    (folder / f"train-labels-idx1-ubyte{ending}").write_bytes(packed(idx(labels)))
    return images


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("below", ["", "raw", "{}/raw"])
@pytest.mark.parametrize(
    ("name", "kind", "class_names"),
    [("mnist", "MNIST", ("0", "1", "2")), ("fashion-mnist", "FashionMNIST", ("T-shirt/top", "trouser", "pullover"))],
)
def test_mnist_from_its_idx_files(
    name: str, kind: str, class_names: tuple[str, ...], below: str, ending: str, tmp_path: Path
) -> None:
    images = mnist(tmp_path / below.format(kind), ending=ending)
    source = blocks(name, tmp_path)
    assert (pixels(source) == images[:, None]).all()
    assert tuple(classes(source.listing()).values()) == class_names
    assert len(truth(source.listing()).class_names) == len(FASHION_CLASSES) == 10
    assert source.listing().names == ("train-00000", "train-00001", "train-00002")


def test_both_kinds_of_mnist_may_lie_in_one_folder(tmp_path: Path) -> None:
    mnist(tmp_path / "MNIST" / "raw", 3)
    mnist(tmp_path / "FashionMNIST" / "raw", 4)
    assert len(blocks("mnist", tmp_path).listing().names) == 3
    assert len(blocks("fashion-mnist", tmp_path).listing().names) == 4


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
NUMBERS = np.arange(3, dtype=np.uint8)
SQUARES = np.zeros((3, 28, 28), np.uint8)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (IMAGES, idx(NUMBERS), f"{IMAGES} begins with 00000801: expected 00000803"),
        (LABELS, idx(SQUARES), f"{LABELS} begins with 00000803: expected 00000801"),
        (IMAGES, b"GIF89a" * 9, f"{IMAGES} begins with 47494638"),
        (IMAGES, b"\0\0", f"{IMAGES} is truncated"),
        (IMAGES, idx(SQUARES)[:-1], f"{IMAGES} holds 2,367 bytes where it says 2,368"),
        (IMAGES, idx(SQUARES) + b"x", f"{IMAGES} holds 2,369 bytes where it says 2,368"),
        (IMAGES, idx(SQUARES[:0]), r"gives its lengths as \(0, 28, 28\): expected small"),
        (IMAGES, struct.pack(">4B3I", 0, 0, 8, 3, 3, 2**31, 2**31), "expected small images"),
        (LABELS, idx(NUMBERS[:2]), f"{LABELS} holds 2 labels for the 3 images of {IMAGES}"),
        (LABELS, idx(NUMBERS + 8), f"{LABELS} holds the label 10: expected 0 to 9"),
        (LABELS, None, f"{LABELS}.gz cannot be read: No such file"),
    ],
)
def test_idx_files_that_do_not_fit_are_refused(file: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    mnist(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        blocks("mnist", tmp_path).listing()


def test_compressed_idx_files_that_are_damaged_are_refused(tmp_path: Path) -> None:
    mnist(tmp_path, ending=".gz")
    path = tmp_path / f"{IMAGES}.gz"
    whole = path.read_bytes()
    damaged = [
        whole[:-20],
        whole[:12],
        b"",
        b"not compressed",
        whole[:15] + b"\xff\xff" + whole[17:],
        gzip.compress(idx(SQUARES)[:-100]),
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(SourceError, match=r"gz (is damaged|is truncated|begins with)"):
            read(blocks("mnist", tmp_path))


# -- trees of image files ----------------------------------------------------------------------


def imagenet(train: Path, wnids: list[str]) -> None:
    for value, wnid in enumerate(wnids):
        picture(train / wnid / f"{wnid}_1.JPEG", (value, value, value))


def test_the_subsets_of_imagenet_are_those_of_the_literature() -> None:
    assert (len(IMAGENET10), len(IMAGENET_DOGS)) == (10, 15)
    assert list(IMAGENET10) == sorted(IMAGENET10)
    assert list(IMAGENET_DOGS) == sorted(IMAGENET_DOGS)
    assert IMAGENET10.keys() & IMAGENET_DOGS.keys() == {"n02085936"}
    assert IMAGENET10["n02085936"] == IMAGENET_DOGS["n02085936"] == "Maltese dog"


@pytest.mark.parametrize("below", ["", "train", "ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train"])
@pytest.mark.parametrize(("name", "subset"), [("imagenet10", IMAGENET10), ("imagenet-dogs", IMAGENET_DOGS)])
def test_a_subset_of_imagenet_takes_its_classes_from_the_whole_tree(
    name: str, subset: dict[str, str], below: str, tmp_path: Path
) -> None:
    imagenet(tmp_path / below, [*subset, "n01440764"])
    imagenet(tmp_path / "val", list(subset))
    source = files(name, tmp_path)
    assert source.side == 224
    expected = {f"{wnid}/{wnid}_1.JPEG": called for wnid, called in subset.items()}
    assert classes(source.listing()) == expected
    assert where(source, source.listing())[0].stem == f"{next(iter(subset))}_1"


def test_folders_of_imagenet_may_be_links_into_the_whole_tree(tmp_path: Path) -> None:
    imagenet(tmp_path / "whole", list(IMAGENET10))
    (tmp_path / "ten").mkdir()
    for wnid in IMAGENET10:
        (tmp_path / "ten" / wnid).symlink_to(tmp_path / "whole" / wnid)
    assert len(files("imagenet10", tmp_path / "ten").listing().names) == 10


def test_missing_classes_of_imagenet_are_named(tmp_path: Path) -> None:
    imagenet(tmp_path / "train", list(IMAGENET10)[:-2])
    message = r"train holds only 8 of the set's 10 classes: add the folders n04467665 \(trailer"
    with pytest.raises(SourceError, match=message):
        set_source("imagenet10", str(tmp_path))


def tiny(folder: Path) -> None:
    words = {"n02124075": "Egyptian cat", "n02012849": "crane", "n03126707": "crane, lifter"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wnids.txt").write_text("".join(f"{wnid}\n" for wnid in words))
    lines = [f"{wnid}\t{name}" for wnid, name in words.items()]
    (folder / "words.txt").write_text("\n".join(["n00001740\tentity", *lines]))
    for wnid in words:
        picture(folder / "train" / wnid / "images" / f"{wnid}_0.JPEG", side=64)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t9\t9\n")
    picture(folder / "val" / "images" / "val_0.JPEG", side=64)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn02124075\t0\t0\t9\t9\n")
    picture(folder / "test" / "images" / "test_0.JPEG", side=64)


@pytest.mark.parametrize("below", ["", "tiny-imagenet-200"])
def test_tiny_imagenet_has_its_training_images_and_words_for_its_classes(below: str, tmp_path: Path) -> None:
    tiny(tmp_path / below)
    source = files("tiny-imagenet", tmp_path)
    assert classes(source.listing()) == {
        "n02124075/images/n02124075_0.JPEG": "Egyptian cat",
        "n02012849/images/n02012849_0.JPEG": "crane (n02012849)",
        "n03126707/images/n03126707_0.JPEG": "crane (n03126707)",
    }
    assert source.side == 64


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("wnids.txt", "n02124075\nn99999999\n", "names 'n99999999', but there is no folder train/n9"),
        ("wnids.txt", "../../etc\n", "names '../../etc', but there is no folder"),
        ("wnids.txt", "", "holds no image files"),
        ("words.txt", None, r"words.txt cannot be read \(No such file or directory\): unpack"),
    ],
)
def test_a_tiny_imagenet_that_is_not_whole_is_refused(
    file: str, content: str | None, message: str, tmp_path: Path
) -> None:
    tiny(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_text(content)
    with pytest.raises(SourceError, match=message):
        set_source("tiny-imagenet", str(tmp_path)).listing()


@pytest.mark.parametrize("below", ["", "2750", "eurosat/2750"])
def test_eurosat_is_folders_of_classes(below: str, tmp_path: Path) -> None:
    for name in EUROSAT_CLASSES:
        picture(tmp_path / below / name / f"{name}_1.jpg", side=64)
    source = files("eurosat", tmp_path)
    assert classes(source.listing()) == {f"{name}/{name}_1.jpg": name for name in EUROSAT_CLASSES}
    assert source.side == 64
    (tmp_path / below / "River" / "River_1.jpg").unlink()
    (tmp_path / below / "River").rmdir()
    with pytest.raises(SourceError, match="does not hold EuroSAT: expected eurosat/2750 with"):
        set_source("eurosat", str(tmp_path))


def flowers(folder: Path, labels: list[int]) -> None:
    for number in range(1, len(labels) + 1):
        picture(folder / "jpg" / f"image_{number:05d}.jpg")
    savemat(folder / "imagelabels.mat", {"labels": np.array([labels], np.uint8)})
    savemat(folder / "setid.mat", {"trnid": [[1]], "valid": [[2]], "tstid": [[3]]})


@pytest.mark.parametrize("below", ["", "flowers-102"])
def test_flowers_have_their_classes_by_number(below: str, tmp_path: Path) -> None:
    flowers(tmp_path / below, [77, 1, 77])
    picture(tmp_path / below / "jpg" / "image_00004.jpg")
    picture(tmp_path / below / "jpg" / "mine.jpg")
    source = files("flowers102", tmp_path)
    listing = source.listing()
    assert listing.names == ("jpg/image_00001.jpg", "jpg/image_00002.jpg", "jpg/image_00003.jpg")
    assert truth(listing).labels.tolist() == [76, 0, 76]
    assert len(set(truth(listing).class_names)) == 102
    assert [one.name for one in listing.skipped] == ["jpg/image_00004.jpg", "jpg/mine.jpg"]
    assert all(path.exists() for path in where(source, listing))


@pytest.mark.parametrize("damage", [b"", b"no matrix", b"MATLAB 5.0 MAT-file" + bytes(200)])
def test_labels_of_flowers_that_cannot_be_read_are_refused(damage: bytes, tmp_path: Path) -> None:
    flowers(tmp_path, [1])
    (tmp_path / "imagelabels.mat").write_bytes(damage)
    with pytest.raises(SourceError, match=r"imagelabels.mat holds no labels of Flowers-102"):
        files("flowers102", tmp_path).listing()


def test_flowers_beyond_the_102_classes_are_refused(tmp_path: Path) -> None:
    flowers(tmp_path, [1, 103])
    with pytest.raises(SourceError, match="holds labels from 1 to 103: expected 1 to 102"):
        files("flowers102", tmp_path).listing()


def pets(folder: Path) -> None:
    for name in ("Abyssinian_1", "Abyssinian_2", "yorkshire_terrier_9"):
        picture(folder / "images" / f"{name}.jpg")
    (folder / "annotations").mkdir()
    (folder / "annotations" / "trainval.txt").write_text("Abyssinian_2 1 1 1\nyorkshire_terrier_9 37 2 25\n")
    (folder / "annotations" / "test.txt").write_text("Abyssinian_1 1 1 1\npug_5 26 2 19\n")


@pytest.mark.parametrize("below", ["", "oxford-iiit-pet"])
def test_pets_have_the_breeds_of_their_annotations(below: str, tmp_path: Path) -> None:
    pets(tmp_path / below)
    source = files("oxford-pets", tmp_path)
    listing = source.listing()
    assert classes(listing) == {
        "images/Abyssinian_2.jpg": "Abyssinian",
        "images/yorkshire_terrier_9.jpg": "yorkshire terrier",
        "images/Abyssinian_1.jpg": "Abyssinian",
    }
    assert [(one.name, one.reason) for one in listing.skipped] == [("images/pug_5.jpg", "there is no such file")]
    assert all(path.exists() for path in where(source, listing))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Abyssinian_1 38 1 1", "test.txt has the line 'Abyssinian_1 38 1 1': expected NAME CLASS"),
        ("Abyssinian_1", "test.txt has the line 'Abyssinian_1': expected NAME CLASS"),
        ("../../secret 1 1 1", "test.txt has the line '../../secret 1 1 1': expected NAME"),
        ("Abyssinian_1 one 1 1", "expected NAME CLASS SPECIES BREED, with CLASS from 1 to 37"),
        ("\udcff", r"test.txt cannot be read \(not a text\)"),
    ],
)
def test_annotations_of_pets_that_do_not_fit_are_refused(line: str, message: str, tmp_path: Path) -> None:
    pets(tmp_path)
    path = tmp_path / "annotations" / "test.txt"
    path.write_bytes(line.encode("utf-8", "surrogateescape"))
    with pytest.raises(SourceError, match=message):
        files("oxford-pets", tmp_path).listing()
    path.unlink()
    with pytest.raises(SourceError, match=r"test\.txt cannot be read"):
        files("oxford-pets", tmp_path).listing()


# -- by name -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_folder_without_the_set_is_told_what_it_should_hold(name: str, tmp_path: Path) -> None:
    picture(tmp_path / "photo.png")
    message = f"{tmp_path} does not hold {SETS[name].title}: expected {SETS[name].expected}"
    with pytest.raises(SourceError, match=f"^{re.escape(message)}$"):
        set_source(name, str(tmp_path))


def test_sets_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="there is no set 'svhn': expected one of cifar10, cifar1"):
        set_source("svhn", str(tmp_path))
    with pytest.raises(SourceError, match=r"there is no folder .*nowhere: check the path"):
        set_source("stl10", str(tmp_path / "nowhere"))


def test_labels_that_nobody_wants_are_left_out(tmp_path: Path) -> None:
    stl10(tmp_path)
    tiny(tmp_path)
    for name in ("stl10", "tiny-imagenet"):
        assert set_source(name, str(tmp_path), labels=False).listing().truth is None
        assert set_source(name, str(tmp_path)).listing().truth is not None


def test_a_set_is_new_when_one_of_its_files_is(tmp_path: Path) -> None:
    stl10(tmp_path)
    before, stamps = blocks("stl10", tmp_path).stamp(), blocks("stl10", tmp_path).listing().stamps
    assert blocks("stl10", tmp_path).stamp() == before
    os.utime(tmp_path / "test_y.bin", ns=(5, 5))
    assert blocks("stl10", tmp_path).stamp() != before
    os.utime(tmp_path / "test_X.bin", ns=(5, 5))
    changed = (blocks("stl10", tmp_path).listing().stamps != stamps).any(1)
    assert changed.tolist() == [False, False, True, True, True]


def test_the_place_of_a_set_does_not_depend_on_how_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stl10(tmp_path)
    monkeypatch.chdir(tmp_path)
    here = blocks("stl10", Path("."))
    assert here.place == blocks("stl10", tmp_path).place == f"stl10:{tmp_path}"
    assert here.text == "stl10:."


# -- as torchvision reads them -----------------------------------------------------------------


def test_cifar_is_what_torchvision_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "_load_meta", lambda _: None)
    cifar10(tmp_path / "cifar-10-batches-py", data=noise(2, 3072), labels=[3, 9])
    cifar100(tmp_path / "cifar-100-python", data=noise(3, 3072), fine_labels=[1, 2, 3])
    pairs = [
        (torchvision.datasets.CIFAR10(str(tmp_path)), "cifar10"),
        (torchvision.datasets.CIFAR100(str(tmp_path)), "cifar100-20"),
    ]
    for theirs, name in pairs:
        assert (pixels(blocks(name, tmp_path)) == theirs.data.transpose(0, 3, 1, 2)).all()
    assert truth(blocks("cifar10", tmp_path).listing()).labels.tolist() == pairs[0][0].targets


@pytest.mark.parametrize("split", ["train", "test", "unlabeled"])
def test_stl10_is_what_torchvision_makes_of_it(split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets.STL10, "_check_integrity", lambda _: True)
    stl10(tmp_path / "stl10_binary")
    theirs = torchvision.datasets.STL10(str(tmp_path), split=split)
    whole = blocks("stl10", tmp_path)
    ours = whole.extra if split == "unlabeled" else whole
    assert ours is not None
    listing = ours.listing()
    places = [place for place, name in enumerate(listing.names) if name.startswith(split)]
    assert (pixels(ours)[places] == theirs.data).all()
    if split != "unlabeled":
        assert truth(listing).labels[places].tolist() == theirs.labels.tolist()
        assert truth(listing).class_names == tuple(theirs.classes)


def test_mnist_and_pets_are_what_torchvision_makes_of_them(tmp_path: Path) -> None:
    mnist(tmp_path / "MNIST" / "raw", 4)
    mnist(tmp_path / "MNIST" / "raw", 4, ending=".gz")
    for part in ("images-idx3", "labels-idx1"):  # torchvision asks for the test images too
        name = f"{part}-ubyte"
        raw = tmp_path / "MNIST" / "raw"
        (raw / f"t10k-{name}").write_bytes((raw / f"train-{name}").read_bytes())
    digits = torchvision.datasets.MNIST(str(tmp_path))
    assert (pixels(blocks("mnist", tmp_path))[:, 0] == digits.data.numpy()).all()
    assert truth(blocks("mnist", tmp_path).listing()).labels.tolist() == digits.targets.tolist()
    pets(tmp_path / "oxford-iiit-pet")
    theirs = torchvision.datasets.OxfordIIITPet(str(tmp_path), split="trainval")
    ours = files("oxford-pets", tmp_path)
    trained = where(ours, ours.listing())[: len(theirs)]
    assert trained == theirs._images


# -- downloads ---------------------------------------------------------------------------------

FREE = [name for name, known in SETS.items() if known.fetch is not None]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPICE_EXPLORER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("name", FREE)
def test_without_a_network_one_sentence_says_what_to_do(
    name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    message = (
        rf"{SETS[name].title} cannot be downloaded, because {SETS[name].address} .*"
        rf"Name or service not known.*: download it on another machine, and open its folder with "
        rf"{name}:FOLDER$"
    )
    with pytest.raises(SourceError, match=message) as raised:
        set_source(name, None)
    assert "\n" not in str(raised.value)
    assert list((cache / "sets").iterdir()) == []


@pytest.mark.parametrize("name", ["imagenet10", "imagenet-dogs"])
def test_imagenet_is_not_downloaded(name: str, cache: Path) -> None:
    message = f"cannot be downloaded, because ImageNet requires an agreement first: open {name}:FOLDER"
    with pytest.raises(SourceError, match=message):
        set_source(name, None)
    assert not cache.exists()


def test_a_set_is_downloaded_once_and_its_archive_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fake(root: str, *, download: bool) -> None:
        calls.append((Path(root).exists(), download))
        stl10(Path(root) / "stl10_binary")
        (Path(root) / "stl10_binary.tar.gz").write_bytes(b"packed")

    monkeypatch.setattr(torchvision.datasets, "STL10", fake)
    for _ in range(2):
        source = set_source("stl10", None)
    assert calls == [(True, True)]
    assert (source.text, source.place) == ("stl10", f"stl10:{cache / 'sets' / 'stl10'}")
    assert [path.name for path in (cache / "sets").rglob("*") if path.suffix != ".bin"] == [
        "stl10",
        "stl10_binary",
        "class_names.txt",
    ]
    assert len(source.listing().names) == 5


def test_a_download_that_breaks_off_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(root: str, *, download: bool) -> None:
        assert download
        (Path(root) / "half").write_bytes(b"half")
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fake)
    message = r"gz failed \(File not found or corrupted\.\): download it on another machine"
    with pytest.raises(SourceError, match=message):
        set_source("cifar10", None)
    assert list((cache / "sets").iterdir()) == []


def test_a_folder_that_the_user_names_is_never_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("downloads"))
    for name in FREE:
        with pytest.raises(SourceError, match="does not hold"):
            set_source(name, str(tmp_path))
    assert list(tmp_path.iterdir()) == []
