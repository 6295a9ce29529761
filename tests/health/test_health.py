"""Every planted defect is found, and sound pictures are not reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from engine.data.images import ImageSet
from engine.health import candidates, health
from engine.health.health import PROBLEMS, Finding, Health, Problem, examine
from engine.sources.open_source import open_source

SOUND, SIDE = 200, 32


def of(pixels: np.ndarray) -> ImageSet:
    return ImageSet(pixels, tuple(f"{index}" for index in range(len(pixels))), "drawn")


def report(pixels: np.ndarray, extents: np.ndarray | None = None, **more: np.ndarray) -> Health:
    found = examine(of(pixels), extents, **more)
    assert found is not None
    return found


def found(health: Health) -> dict[Problem, list[int]]:
    """The images of each problem found, in order."""
    return {one: sorted(finding.images.tolist()) for one, finding in health.findings.items() if len(finding.images)}


def photographs(count: int, seed: int) -> np.ndarray:
    """Pictures with the spectrum of photographs, whose power falls with frequency."""
    rng = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None]
    falling = 1 / np.maximum(np.hypot(y, x), 1 / SIDE)
    waves = np.fft.rfft2(rng.normal(size=(count, 3, SIDE, SIDE))) * falling
    waves[:, 1:] = 0.5 * waves[:, :1] + 0.5 * waves[:, 1:]  # the three colours are correlated
    pictures = np.fft.irfft2(waves, (SIDE, SIDE))
    pictures /= pictures.std((1, 2, 3), keepdims=True)
    return (128 + 50 * pictures).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    return photographs(SOUND, seed=0)


@pytest.fixture(scope="module")
def others() -> np.ndarray:
    """Eight more pictures, to plant defects in."""
    return photographs(8, seed=1)


def soft(pictures: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(pictures.astype(float), (0, 0, sigma, sigma)).astype(np.uint8)


def shifted(pictures: np.ndarray) -> np.ndarray:
    return np.pad(pictures, ((0, 0), (0, 0), (0, 0), (1, 0)), mode="edge")[..., :-1]


def grainy(pictures: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(2).normal(0, 8, pictures.shape)
    return (pictures + grain).clip(0, 255).astype(np.uint8)


def paper(pictures: np.ndarray) -> np.ndarray:
    grain = np.random.default_rng(3).normal(0, 2, pictures.shape)
    return (230 + grain).clip(0, 255).astype(np.uint8)


def test_sound_pictures_have_no_findings_but_the_rare_outlier(sound: np.ndarray) -> None:
    every = found(report(sound))
    assert len(every.pop("outliers", [])) <= 0.01 * SOUND
    assert every == {}


SPOILT = {
    "dark": lambda pictures: pictures // 4,
    "bright": lambda pictures: 255 - (255 - pictures) // 4,
    "blurred": lambda pictures: soft(pictures, 2.5),
    "blank": paper,
    "outliers": lambda pictures: np.random.default_rng(4).integers(0, 256, pictures.shape, dtype=np.uint8),
}


@pytest.mark.parametrize("problem", SPOILT)
def test_spoilt_pictures_are_found_and_no_others(problem: Problem, sound: np.ndarray, others: np.ndarray) -> None:
    every = found(report(np.concatenate([sound, SPOILT[problem](others)])))
    outliers = every.pop("outliers", [])  # defective images may well be outliers too
    named = every.pop(problem, outliers)
    assert [one for one in named if one >= SOUND] == list(range(SOUND, SOUND + 8))
    assert len({one for one in [*named, *outliers] if one < SOUND}) <= 0.01 * SOUND
    assert every == {}


def test_the_worst_come_first(sound: np.ndarray, others: np.ndarray) -> None:
    spoilt = np.stack([others[0] // 4, others[0] // 8, others[0] // 6])
    dark = report(np.concatenate([sound, spoilt])).findings["dark"]
    assert dark.images.tolist() == [SOUND + 1, SOUND + 2, SOUND]
    assert dark.values.tolist() == sorted(dark.values.tolist())


def test_equal_pictures_are_groups_with_the_largest_original_first(sound: np.ndarray) -> None:
    pixels = np.concatenate([sound, sound[[5, 5, 9]]])
    extents = np.full((len(pixels), 2), 400, np.int32)
    extents[SOUND + 1] = 900, 800
    exact = report(pixels, extents).findings["exact duplicates"]
    assert exact.images.tolist() == [SOUND + 1, 5, SOUND, 9, SOUND + 2]
    assert exact.groups.tolist() == [0, 0, 0, 1, 1]
    assert exact.extras().tolist() == [5, SOUND, SOUND + 2]


@pytest.mark.parametrize(
    "changed",
    [shifted, grainy, lambda pictures: (0.8 * pictures + 20).astype(np.uint8)],
    ids=["shifted by a pixel", "grainy", "paler"],
)
def test_pictures_that_are_nearly_equal_are_groups(changed, sound: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    every = report(np.concatenate([sound, changed(sound[:8])]))
    near = every.findings["near duplicates"]
    groups = [set(near.images[near.groups == number].tolist()) for number in range(8)]
    assert sorted(groups, key=min) == [{one, SOUND + one} for one in range(8)]
    assert not len(every.findings["exact duplicates"].images)


def test_of_nearly_equal_pictures_the_sharpest_comes_first(sound: np.ndarray) -> None:
    near = report(np.concatenate([soft(sound[:1], 0.6), sound])).findings["near duplicates"]
    assert near.images.tolist() == [1, 0]
    assert near.extras().tolist() == [0]


def test_exact_copies_belong_to_the_group_of_what_is_nearly_equal(sound: np.ndarray) -> None:
    pixels = np.concatenate([sound, sound[:1], shifted(sound[:1]), sound[3:4]])
    every = found(report(pixels))
    assert every["exact duplicates"] == [0, 3, SOUND, SOUND + 2]
    assert every["near duplicates"] == [0, SOUND, SOUND + 1]


def test_another_colour_is_another_thing(sound: np.ndarray) -> None:
    red = np.zeros((1, 3, SIDE, SIDE), np.uint8)
    red[0, 0] = sound[0, 0]
    blue = red[:, ::-1]
    assert "near duplicates" not in found(report(np.concatenate([sound[1:], red, blue])))


def test_pictures_in_the_mirror_are_near_duplicates(sound: np.ndarray) -> None:
    every = found(report(np.concatenate([sound, sound[:3, :, :, ::-1]])))
    assert every["near duplicates"] == [0, 1, 2, SOUND, SOUND + 1, SOUND + 2]


def test_features_propose_pairs_that_are_then_verified(sound: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.concatenate([sound, sound[:3, :, :, ::-1]])
    features = np.random.default_rng(5).normal(size=(SOUND + 3, 16)).astype(np.float32)
    features[SOUND:] = features[:3] + 0.001
    features[150] = features[151]  # features may be wrong: these two images look different
    monkeypatch.setattr(candidates, "ALIKE", 2.0)  # no pair is proposed otherwise
    assert "near duplicates" not in found(report(pixels))
    every = found(report(pixels, features=features))
    assert every["near duplicates"] == [0, 1, 2, SOUND, SOUND + 1, SOUND + 2]


def test_odd_sides_are_those_unlike_the_usual(sound: np.ndarray) -> None:
    extents = np.full((SOUND, 2), 300, np.int32)
    extents[3], extents[4], extents[5] = (300, 900), (1200, 300), (300, 700)
    odd = report(sound, extents).findings["odd aspect"]
    assert odd.images.tolist() == [4, 3]
    assert odd.values.tolist() == [4, 3]
    banners = np.tile(np.array([[900, 300]], np.int32), (SOUND, 1))
    assert not len(report(sound, banners).findings["odd aspect"].images)


def test_without_sides_nothing_is_said_of_them(sound: np.ndarray) -> None:
    assert not report(sound).aspects
    assert report(sound, np.full((SOUND, 2), 9, np.int32)).aspects


# -- sets that are unusual throughout ------------------------------------------------------------


def test_a_set_that_is_dark_throughout_is_not_a_set_of_defects(sound: np.ndarray) -> None:
    assert "dark" not in found(report(sound // 5))


def test_digits_are_neither_blurred_nor_blank() -> None:
    digits = open_source("digits").images
    every = found(report(digits.pixels))
    assert set(every) <= {"near duplicates", "outliers"}
    assert sum(map(len, every.values())) < 0.02 * len(digits)


def test_drawings_in_thin_lines_are_no_bright_pages() -> None:
    rng, pages = np.random.default_rng(6), np.full((60, 1, SIDE, SIDE), 255, np.uint8)
    for page in pages[:, 0]:
        start, row = rng.integers(2, 12, 2)
        page[row : row + 10, start] = page[row, start : start + 10] = 0
    assert not {"bright", "blank", "blurred"} & set(found(report(pages)))


@pytest.mark.parametrize("count", [1, 2, 60])
def test_equal_pictures_are_one_group_and_nothing_else(count: int, sound: np.ndarray) -> None:
    every = found(report(np.repeat(sound[:1], count, axis=0)))
    assert every == ({"exact duplicates": list(range(count))} if count > 1 else {})


@pytest.mark.parametrize("channels", [1, 3])
def test_blank_pictures_are_blank_and_not_dark_blurred_or_near(channels: int) -> None:
    pixels = np.arange(60, dtype=np.uint8)[:, None, None, None]
    every = found(report(np.tile(pixels, (1, channels, 8, 8))))
    assert every == {"blank": list(range(60))}


def test_images_of_four_pixels_can_be_examined() -> None:
    pixels = np.random.default_rng(7).integers(0, 256, (70, 1, 2, 2), dtype=np.uint8)
    assert "blurred" not in found(report(pixels))


# -- the report itself -----------------------------------------------------------------------------


def test_it_can_be_stopped_at_every_step(sound: np.ndarray) -> None:
    asked: list[int] = []

    def count() -> bool:
        asked.append(1)
        return False

    assert examine(of(sound), stop=count) is not None
    for step in range(len(asked)):
        left = iter([False] * step)
        assert examine(of(sound), stop=lambda left=left: next(left, True)) is None


def test_progress_rises_to_its_end(sound: np.ndarray) -> None:
    seen: list[tuple[int, int]] = []
    examine(of(sound), progress=lambda *now: seen.append(now))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (3 * SOUND, 3 * SOUND)


def test_extras_are_all_but_the_best_of_those_that_are_kept() -> None:
    finding = Finding(np.array([7, 1, 4, 2, 9], np.int32), np.zeros(5, np.float32), np.array([0, 0, 0, 1, 1], np.int32))
    kept = np.ones(10, bool)
    kept[[7, 9]] = False
    assert finding.extras().tolist() == [1, 4, 9]
    assert finding.extras(kept).tolist() == [4]


def test_a_report_is_saved_and_read_again(sound: np.ndarray, tmp_path: Path) -> None:
    made = report(np.concatenate([sound, sound[:2]]))
    made.save(tmp_path / "deep" / "health.npz")
    read = Health.load(tmp_path / "deep" / "health.npz", SOUND + 2)
    assert read is not None
    assert list(read.findings) == list(PROBLEMS)
    for problem in PROBLEMS:
        for name in ("images", "values", "groups"):
            one, other = (getattr(each.findings[problem], name) for each in (made, read))
            assert one.tolist() == other.tolist()
            assert one.dtype == other.dtype
    assert [entry.name for entry in (tmp_path / "deep").iterdir()] == ["health.npz"]


def test_no_report_is_taken_that_is_damaged_of_other_images_or_by_other_rules(
    sound: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "health.npz"
    assert Health.load(file, SOUND) is None
    report(sound).save(file)
    assert Health.load(file, SOUND) is not None
    assert Health.load(file, SOUND + 1) is None
    monkeypatch.setattr(health, "RULES", health.RULES + 1)
    assert Health.load(file, SOUND) is None
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:200])
    assert Health.load(file, SOUND) is None
