"""Vectors from a file: matched with the images, checked, and copied as float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from engine.data import vectors
from engine.data.images import ImageSet
from engine.data.vectors import import_vectors
from engine.errors import SourceError

IDS = ("birds/a.png", "birds/b.png", "fish/c.png")
IMAGES = ImageSet(np.zeros((3, 1, 2, 2), np.uint8), IDS, "folder:photos")
VALUES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.5]], np.float32)


def imported(path: Path) -> np.ndarray:
    found = import_vectors(f"import:{path}", IMAGES, lambda shape: np.full(shape, -1, np.float32))
    assert found is not None
    return found


def saved(tmp_path: Path, array: object) -> Path:
    np.save(tmp_path / "v.npy", array, allow_pickle=True)  # type: ignore[arg-type]
    return tmp_path / "v.npy"


def table(tmp_path: Path, columns: dict[str, object], **options: object) -> Path:
    pd.DataFrame(columns, **options).to_parquet(tmp_path / "v.parquet")  # type: ignore[call-overload]
    return tmp_path / "v.parquet"


# -- arrays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int16, np.uint8])
@pytest.mark.parametrize("block", [1, 2**20], ids=["row by row", "at once"])
def test_an_array_of_any_real_numbers_comes_as_float32(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type, block: int
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_BYTES", block)
    found = imported(saved(tmp_path, VALUES.astype(kind)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, VALUES.astype(kind).astype(np.float32))


def test_without_a_place_for_them_vectors_are_only_judged(tmp_path: Path) -> None:
    assert import_vectors(f"import:{saved(tmp_path, VALUES)}", IMAGES) is None
    with pytest.raises(SourceError, match="2 rows, but folder:photos has 3 images"):
        import_vectors(f"import:{saved(tmp_path, VALUES[:2])}", IMAGES)


BROKEN = VALUES.copy()
BROKEN[1, 0], BROKEN[2, 1] = np.nan, np.inf


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (VALUES[:2], "has 2 rows, but folder:photos has 3 images: expected one row an image"),
        (BROKEN, r"2 of the 3 vectors .* not finite, the first that of birds/b.png"),
        (np.array([[1e39, 1.0]] * 3), "3 of the 3 vectors"),
        (np.ones((3, 2)), "all 3 vectors in .* are the same"),
        (VALUES[:, :1], "has 1 number an image: expected vectors of at least 2"),
        (VALUES[:, :0], "has 0 numbers an image"),
        (VALUES.astype(str), r"is <U32 of shape \(3, 2\): expected real numbers of shape \(3, D\)"),
        (VALUES.astype(complex), "is complex128 of shape"),
        (VALUES > 2, "is bool of shape"),
        (VALUES.ravel(), r"is float32 of shape \(6,\)"),
        (np.array([{}, 1, 2], object), "it contains Python objects, which are never loaded"),
    ],
    ids=[
        "too few rows",
        "not finite",
        "too large",
        "all the same",
        "one column",
        "no column",
        "text",
        "complex",
        "bool",
        "one dimension",
        "objects",
    ],
)
def test_an_array_that_does_not_fit_is_refused_in_words(tmp_path: Path, array: np.ndarray, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        imported(saved(tmp_path, array))


def test_a_file_of_another_kind_or_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("hello")
    (tmp_path / "text.parquet").write_text("hello")
    np.savez(tmp_path / "several.npz", VALUES)
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    for name, words in {
        "text.npy": "cannot be read as an array",
        "several.npy": "is an archive: expected real numbers",
        "text.parquet": "cannot be read as a table",
        "gone.npy": "there is no file .*gone.npy",
        "v.csv": r"expected import:FILE.npy or .parquet",
        "": r"features.source is 'import:",
    }.items():
        with pytest.raises(SourceError, match=words):
            imported(tmp_path / name)


# -- tables ------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 2**20], ids=["row by row", "at once"])
@pytest.mark.parametrize("names", [IDS, ("a.png", "b.png", "c.png")], ids=["ids", "last parts"])
def test_rows_with_names_are_matched_in_any_order_and_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], block: int
) -> None:
    monkeypatch.setattr(vectors, "BLOCK_BYTES", block)
    order = [2, 0, 1]
    rows = [*VALUES[order].tolist(), [np.nan, 0.0]]  # of an image that is not in this run
    file = [*(names[one] for one in order), "z.png"]
    columns = {"x": [one[0] for one in rows], "file": file, "y": [one[1] for one in rows]}
    np.testing.assert_array_equal(imported(table(tmp_path, columns)), VALUES)


def test_names_may_be_the_index_of_the_table(tmp_path: Path) -> None:
    path = table(tmp_path, {"x": VALUES[::-1, 0], "y": VALUES[::-1, 1]}, index=list(IDS[::-1]))
    np.testing.assert_array_equal(imported(path), VALUES)


def test_an_index_of_numbers_is_no_feature(tmp_path: Path) -> None:
    path = table(tmp_path, {"x": VALUES[:, 0], "y": VALUES[:, 1]}, index=[7, 8, 9])
    np.testing.assert_array_equal(imported(path), VALUES)


def test_a_column_of_lists_holds_whole_vectors(tmp_path: Path) -> None:
    columns = {"label": [4, 5, 6], "vector": list(VALUES.tolist())}
    np.testing.assert_array_equal(imported(table(tmp_path, columns)), VALUES)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1.0], "y": [2.0]}, "1 rows, but folder:photos has 3 images.*or a column with"),
        ({"f": ["a.png"], "x": [1.0], "y": [2.0]}, "no row for 2 of the 3 images, the first birds/b"),
        ({"f": ["a.png", "b.png", "c.png", "a.png"], "x": range(4), "y": range(4)}, "several rows for 'a.png'"),
        ({"f": ["p", "q", "r"], "x": range(3), "y": range(3)}, "no column of the table contains names"),
        ({"f": list(IDS)}, "no column of numbers or of lists"),
        ({"x": [1.0, None, 3.0], "y": [1.0, 2.0, 3.0]}, "1 of the 3 vectors .* first that of birds/b"),
        ({"x": [1.0, 2.0, 3.0]}, "has 1 number an image"),
        ({"v": [[1.0, 2.0], [1.0], [1.0, 2.0]]}, "lists of 'v' .* have 2 and 1 numbers"),
        ({"v": [[1.0, 2.0]] * 3, "w": [[1.0, 2.0]] * 3}, r"several columns of lists \(v, w\)"),
    ],
    ids=[
        "too few rows",
        "no row for some",
        "two rows for one",
        "strange names",
        "no numbers",
        "missing",
        "one column",
        "lists of two lengths",
        "two columns of lists",
    ],
)
def test_a_table_that_does_not_fit_is_refused_in_words(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        imported(table(tmp_path, columns))


# -- what is used -------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e25, 1e-30, 1e18, 1e-13])
def test_huge_and_tiny_vectors_keep_their_directions_and_proportions(tmp_path: Path, scale: float) -> None:
    found = imported(saved(tmp_path, (VALUES * scale).astype(np.float32)))
    np.testing.assert_allclose(found / found.max(), VALUES / VALUES.max(), rtol=1e-5)
    assert np.isfinite((found**2).sum(1)).all()
    assert ((found**2).sum(1) > 1e-3).all()


def test_a_vector_of_zeros_is_named(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[1] = 0
    with pytest.raises(
        SourceError, match=r"1 of the 3 vectors in .* are zero, which points nowhere, the first that of birds/b"
    ):
        imported(saved(tmp_path, values))


def test_vectors_of_fewer_directions_than_clusters_are_refused(tmp_path: Path) -> None:
    values = np.array([[1.0, 2.0], [2.0, 4.0], [4.0, 1.0]])
    path = saved(tmp_path, values)
    assert import_vectors(f"import:{path}", IMAGES) is None
    with pytest.raises(SourceError, match="have only 2 different directions, for 3 clusters: choose fewer"):
        import_vectors(f"import:{path}", IMAGES, clusters=3)


@pytest.mark.parametrize("title", ["file_name", "id", "name"])
def test_vectors_belong_to_the_images_that_the_title_names(tmp_path: Path, title: str) -> None:
    columns = {"nearest": IDS[1:] + IDS[:1], title: IDS[::-1], "v": list(VALUES[::-1].tolist())}
    np.testing.assert_array_equal(imported(table(tmp_path, columns)), VALUES)
    with pytest.raises(SourceError, match="2 columns that name images, 'nearest' and 'other'"):
        imported(table(tmp_path, {"nearest": IDS[1:] + IDS[:1], "other": IDS[::-1], "v": list(VALUES.tolist())}))


def test_numbers_that_name_images_and_classes_are_no_features(tmp_path: Path) -> None:
    images = ImageSet(IMAGES.pixels, ("1", "2", "3"), "names.npz")
    columns = {"id": [3, 1, 2], "label": [7, 7, 7], "x": VALUES[[2, 0, 1], 0], "y": VALUES[[2, 0, 1], 1]}
    path = table(tmp_path, columns)
    found = import_vectors(f"import:{path}", images, lambda shape: np.zeros(shape, np.float32))
    np.testing.assert_array_equal(found, VALUES)
    with pytest.raises(SourceError, match="no column of the table contains names"):
        imported(path)


def test_names_may_be_categories(tmp_path: Path) -> None:
    names = pd.Categorical(IDS[::-1])
    np.testing.assert_array_equal(imported(table(tmp_path, {"f": names, "v": list(VALUES[::-1].tolist())})), VALUES)


def test_names_that_became_floats_are_names(tmp_path: Path) -> None:
    images = ImageSet(np.zeros((3, 1, 2, 2), np.uint8), ("3", "1", "2"), "folder:photos")
    path = table(tmp_path, {"id": [1.0, 2.0, 3.0], "a": [1.0, 2.0, 3.0], "b": [5.0, 6.0, 8.0]})
    vectors = import_vectors(f"import:{path}", images, lambda shape: np.zeros(shape, np.float32))
    assert vectors is not None
    assert vectors.tolist() == [[3, 8], [1, 5], [2, 6]]


def test_counters_beside_the_numbers_of_a_vector_are_refused_and_named(tmp_path: Path) -> None:
    path = table(tmp_path, {"id": list(IDS), "row": [0, 1, 2], "a": [1.0, 2.0, 3.0], "b": [5.0, 6.0, 8.0]})
    with pytest.raises(SourceError, match="columns of floats and of whole numbers, such as 'row'"):
        imported(path)
