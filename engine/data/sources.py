"""From what a user names ("digits", "folder:photos") to an `ImageSet` and, if any, a `Truth`."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.data.columns import ImageColumn
from engine.data.decode import IMAGE_ENDINGS, decode, fit
from engine.data.images import ImageSet
from engine.data.listing import Skipped
from engine.data.truth import Truth
from engine.errors import SourceError

KINDS = ("digits", "folder:PATH", "cifar10:PATH")
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
DEFAULT_SIZE = 32
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Opened:
    """What a source gave.

    Attributes:
        truth: if it was there and wanted.
        skipped: what could not be used.
        extents: (N, 2) int32, width and height of each image as it came; None where all came as
            they are here.
        columns: what the source says of its images besides.
        extra: further images for stage 1 alone, of the same size and channels.
    """

    images: ImageSet
    truth: Truth | None = None
    skipped: tuple[Skipped, ...] = ()
    extents: np.ndarray | None = None
    columns: tuple[ImageColumn, ...] = ()
    extra: ImageSet | None = None

    def __post_init__(self) -> None:
        if self.truth is not None and len(self.truth.labels) != len(self.images):
            raise SourceError(
                f"{self.images.source} has {len(self.images)} images but "
                f"{len(self.truth.labels)} true labels: expected one each"
            )


def open_source(
    source: str,
    *,
    size: int | None = None,
    folder_labels: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Opened:
    """Opens `source`.

    Args:
        source: "digits", "folder:PATH" or "cifar10:PATH".
        size: side in pixels to which a folder's images are scaled (their middle square is kept);
            by default 32.
        folder_labels: take the first subfolder of each image of a folder as its true class.
        progress: called with the numbers of files read and to read.

    Raises:
        SourceError: in one sentence, when there is nothing usable there.
    """
    kind, _, path = source.partition(":")
    name = readable(source)
    if source == "digits":
        return _digits()
    if kind == "folder" and path:
        return _folder(name, _directory(path), size or DEFAULT_SIZE, folder_labels, progress)
    if kind == "cifar10" and path:
        return _cifar10(name, _directory(path), progress)
    raise SourceError(f"source {source!r} is unknown: expected one of {', '.join(KINDS)}")


def _directory(text: str) -> Path:
    path = Path(os.path.expanduser(text))  # leaves ~nobody as it is, where Path's own raises
    if not path.exists():
        raise SourceError(f"there is no folder {text}: check the path")
    if not path.is_dir():
        raise SourceError(f"{text} is a file: expected a folder of images")
    return path


def _digits() -> Opened:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey, 10 classes, with their truth."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    ids = tuple(f"digit-{index:04d}" for index in range(len(pixels)))
    truth = Truth(bunch.target.astype(np.int64), tuple("0123456789"))
    return Opened(ImageSet(pixels, ids, "digits"), truth)


def _folder(
    source: str,
    root: Path,
    size: int,
    folder_labels: bool,
    progress: Progress,
) -> Opened:
    pixels, kept, skipped = _read(root, image_files(root), size, progress)
    truth = _subfolder_truth(root, kept) if folder_labels else None
    return Opened(ImageSet(pixels, kept, source), truth, skipped)


def image_files(root: Path) -> list[str]:
    """Image files below `root`, sorted, as paths relative to it with forward slashes.

    Hidden files and folders are passed over, and links to folders are not followed, so that a link
    that points upwards cannot make the walk endless.
    """
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        found += [
            (relative / name).as_posix()
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in IMAGE_ENDINGS
        ]
    return sorted(found)


def _read(
    root: Path, names: list[str], size: int, progress: Progress
) -> tuple[np.ndarray, tuple[str, ...], tuple[Skipped, ...]]:
    """(N, C, size, size) uint8 of the readable files, their names, and the others with reasons.

    Images are decoded straight into one array, as RGB; it keeps one channel if all are grey.
    """
    if not names:
        raise SourceError(
            f"{root} holds no image files ({', '.join(sorted(IMAGE_ENDINGS))}): choose another "
            "folder"
        )
    pixels = _space(len(names), size)
    reasons: dict[int, str] = {}
    colourful = np.zeros(len(names), bool)

    def read(index: int) -> None:
        try:
            image = fit(decode(root / names[index], size), size).convert("RGB")
            pixels[index] = square = np.asarray(image)
            colourful[index] = (square != square[..., :1]).any()
        except SourceError as error:
            reasons[index] = str(error)

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # a file is either good enough to decode or listed
        for done, _ in enumerate(pool.map(read, range(len(names)), chunksize=64), start=1):
            progress(done, len(names))
    names = [readable(name) for name in names]
    skipped = tuple(Skipped(names[index], reasons[index]) for index in sorted(reasons))
    if len(skipped) == len(names):
        raise SourceError(
            f"none of the {len(names)} image files in {root} can be read; the first is "
            f"{skipped[0].name}: {skipped[0].reason}"
        )
    good = np.array([index not in reasons for index in range(len(names))])
    channels = 3 if colourful[good].any() else 1
    kept = tuple(name for name, ok in zip(names, good, strict=True) if ok)
    array = np.ascontiguousarray(pixels[good, :, :, :channels].transpose(0, 3, 1, 2))
    return array, kept, skipped


def readable(name: str) -> str:
    """`name` as valid text, which JSON, CSV and pages can hold: bytes that are no UTF-8 as \\xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _space(images: int, size: int) -> np.ndarray:
    try:
        return np.empty((images, size, size, 3), np.uint8)
    except MemoryError:
        raise SourceError(
            f"{images} images of {size} × {size} pixels need {images * size**2 * 3 / 1e9:.0f} GB of "
            "memory, which is not there: choose a smaller size"
        ) from None


def _subfolder_truth(root: Path, names: Iterable[str]) -> Truth:
    classes = [name.split("/")[0] if "/" in name else "" for name in names]
    if "" in classes:
        raise SourceError(
            f"labels were asked from the subfolders of {root}, but {classes.count('')} images lie "
            "directly in it: move them into class folders, or do not ask for labels"
        )
    class_names, labels = np.unique(classes, return_inverse=True)
    return Truth(labels.astype(np.int64), tuple(map(str, class_names)))


def _cifar10(source: str, root: Path, progress: Progress) -> Opened:
    """The 50,000 training images, from class folders or from torchvision's own files."""
    batches = next(
        (place for place in (root, root / "cifar-10-batches-py") if (place / "data_batch_1").exists()),
        None,
    )  # fmt: skip
    if batches is not None:
        return _cifar10_batches(source, batches)
    train = root / "train" if (root / "train").is_dir() else root
    present = {entry.name for entry in train.iterdir() if entry.is_dir()}
    if not set(CIFAR10_CLASSES) <= present:
        raise SourceError(
            f"{root} does not hold CIFAR-10: expected the folders train/airplane … train/truck, or "
            "torchvision's cifar-10-batches-py"
        )
    names = [name for name in image_files(train) if name.split("/")[0] in CIFAR10_CLASSES]
    pixels, kept, skipped = _read(train, names, 32, progress)
    index = {name: label for label, name in enumerate(CIFAR10_CLASSES)}
    labels = np.array([index[name.split("/")[0]] for name in kept], np.int64)
    return Opened(ImageSet(pixels, kept, source), Truth(labels, CIFAR10_CLASSES), skipped)


class _PlainPickle(pickle.Unpickler):
    """Reads dicts, lists, numbers and numpy arrays, and refuses to build anything else."""

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _cifar10_batches(source: str, folder: Path) -> Opened:
    batches = [_cifar10_batch(folder / f"data_batch_{number}") for number in range(1, 6)]
    pixels, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    ids = tuple(f"train-{index:05d}" for index in range(len(pixels)))
    return Opened(ImageSet(pixels, ids, source), Truth(labels, CIFAR10_CLASSES))


def _cifar10_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (M, 3, 32, 32) and labels (M,) of one of torchvision's files."""
    try:
        with path.open("rb") as file:
            batch = _PlainPickle(file, encoding="bytes").load()
        pixels = np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32)
        return pixels, np.asarray(batch[b"labels"], np.int64).reshape(len(pixels))
    except Exception as error:  # a damaged pickle may raise anything
        raise SourceError(f"{path} is not a CIFAR-10 batch: {error}") from None
