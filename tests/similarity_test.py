import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, pdist
from scipy.stats import gaussian_kde, norm

from midijax import similarity
from midijax.performance import NOTE_DTYPE, Performance
from midijax.statistics import measure

SECONDS = 10.0


def music(seed, centre=60, velocity=64):
    """Notes about a pitch that differs from performance to performance."""
    rng = np.random.default_rng(seed)
    notes = np.empty(80, NOTE_DTYPE)
    notes["onset"] = np.sort(rng.uniform(0, SECONDS, len(notes)))
    notes["offset"] = notes["onset"] + rng.exponential(0.3, len(notes))
    notes["pitch"] = rng.normal(centre + rng.normal(0, 4), 6, len(notes)).clip(0, 127)
    notes["velocity"] = rng.normal(velocity + rng.normal(0, 4), 10, len(notes)).clip(1, 127)
    return Performance(notes)


def measures(seeds, **how):
    return [measure(music(seed, **how), SECONDS) for seed in seeds]


REAL = measures(range(40))


def test_histograms_by_hand():
    likeness = similarity.of_histograms(np.array([1, 1, 0]), np.array([1, 2, 1]))
    assert likeness.overlapping_area == pytest.approx(0.75)
    divergence = 0.25 * np.log(0.25 / 0.5) + 0.25 * np.log(0.25 / similarity.LEAST_SHARE)
    assert likeness.kl_divergence == pytest.approx(divergence, abs=1e-4)


@pytest.mark.parametrize(("centre", "dimensions"), [(0, 1), (2, 1), (2, 3)])
def test_distances_by_scipys_kernel_density(centre, dimensions):
    rng = np.random.default_rng(0)
    other, real = (rng.normal(mean, 1, (30, dimensions)) for mean in (centre, 0))
    within, between = pdist(real), cdist(other, real).ravel()
    grid = np.linspace(-3, 12, 2000)
    expected = similarity.of_histograms(gaussian_kde(between)(grid), gaussian_kde(within)(grid))
    np.testing.assert_allclose(similarity.of_distances(other, real), expected, atol=2e-3)


def test_distances_by_theory():
    """Of normal variables two deviations apart: differences of one set and between both."""
    rng = np.random.default_rng(0)
    real, other = rng.normal(0, 1, (400, 1)), rng.normal(2, 1, (400, 1))
    x = np.linspace(0, 12, 4000)
    within = 2 * norm.pdf(x, 0, 2**0.5)
    between = norm.pdf(x, 2, 2**0.5) + norm.pdf(-x, 2, 2**0.5)
    expected = np.trapezoid(np.minimum(within, between), x)
    area = similarity.of_distances(other, real).overlapping_area
    assert area == pytest.approx(expected, abs=0.05)


def test_the_same_music_over_and_over_has_distances_too():
    real = np.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert similarity.of_distances(np.zeros((5, 1)), real).overlapping_area < 0.5


@given(st.lists(st.integers(0, 9), min_size=2, max_size=20).filter(any))
def test_a_histogram_is_like_itself(counts):
    area, divergence = similarity.of_histograms(np.array(counts), 3.0 * np.array(counts))
    assert area == pytest.approx(1) and divergence == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=20).filter(
        lambda pairs: all(map(any, zip(*pairs, strict=True)))
    )
)
def test_bounds(pairs):
    other, real = np.array(pairs).T
    area, divergence = similarity.of_histograms(other, real)
    assert 0 <= area <= 1 + 1e-9
    assert divergence >= -1e-3  # the least share of empty bins is no part of the whole
    assert area == pytest.approx(similarity.of_histograms(real, other).overlapping_area)


def test_a_set_is_like_itself():
    for comparison in similarity.compare(REAL, REAL).values():
        assert comparison.values.overlapping_area == pytest.approx(1)
        assert comparison.distances.overlapping_area > 0.9  # nought to itself is no distance
        assert comparison.values.kl_divergence == pytest.approx(0, abs=1e-9)


def test_what_differs_shows_where_it_differs():
    like = similarity.compare(measures(range(100, 140)), REAL)
    louder = similarity.compare(measures(range(100, 140), velocity=90), REAL)
    for way in ("values", "distances"):
        areas = {name: getattr(louder[name], way).overlapping_area for name in louder}
        assert areas.pop("velocity") < 0.6 < min(areas.values())
        assert getattr(like["velocity"], way).overlapping_area > 0.8
        divergences = (getattr(set_["velocity"], way).kl_divergence for set_ in (louder, like))
        assert next(divergences) > 5 * next(divergences)


def test_notes_as_loud_as_the_next_are_seen_by_their_values_alone():
    notes = [music(seed).notes.copy() for seed in range(100, 140)]
    for of_one in notes:
        of_one["velocity"] = of_one["velocity"].mean()
    flat = similarity.compare([measure(Performance(of_one), SECONDS) for of_one in notes], REAL)
    likeness = flat["velocity"]
    assert likeness.values.overlapping_area < 0.75 < 0.9 < likeness.distances.overlapping_area


def test_a_statistic_that_never_differs_is_left_out():
    flat = [measure(Performance(flat_velocity(seed)), SECONDS) for seed in range(5)]
    assert "velocity" not in similarity.compare(REAL, flat)
    assert "pitch" in similarity.compare(REAL, flat)


def flat_velocity(seed):
    notes = music(seed).notes.copy()
    notes["velocity"] = 64
    return notes


def test_one_note_has_no_timing_like_any_other():
    single = measure(Performance(np.array([(0, 1, 60, 64)], NOTE_DTYPE)), SECONDS)
    compared = similarity.compare([single], REAL)
    assert compared["inter_onset"] == (similarity.UNLIKE, similarity.UNLIKE)
    assert compared["pitch"].values.overlapping_area > 0
    among_others = similarity.compare([single, *REAL], REAL)
    share = len(REAL) / (len(REAL) + 1)
    assert among_others["inter_onset"].values.overlapping_area == pytest.approx(share)
    assert (
        among_others["inter_onset"].distances
        == similarity.compare(REAL, REAL)["inter_onset"].distances
    )


def area(compared):
    """The mean overlapping area of the values."""
    return np.mean([of.values.overlapping_area for of in compared.values()])


def test_ceilings_are_of_draws_and_beside_what_is_compared():
    others = measures(range(200, 230))
    ceilings = similarity.ceilings(others, REAL, 10, seed=0)
    areas = [area(ceiling) for ceiling in ceilings]
    assert len(set(areas)) == similarity.CEILING_DRAWS
    assert similarity.ceilings(others, REAL, 10, seed=0) == ceilings
    all_of_them = similarity.ceilings(others, REAL, 99, seed=0)
    compared = similarity.compare(others, REAL)
    np.testing.assert_allclose([area(ceiling) for ceiling in all_of_them], area(compared))
    mean = similarity.mean_areas(compared, ceilings)
    assert mean["generated"] == pytest.approx(area(compared))
    assert mean["ceiling"] == pytest.approx(np.mean(areas))
    assert mean["ceiling_deviation"] == pytest.approx(np.std(areas, ddof=1))
    table = similarity.summary(similarity.compare(REAL, REAL), ceilings)
    expected = np.mean([ceiling["pitch"].values.overlapping_area for ceiling in ceilings])
    assert table["pitch"]["values"]["ceiling"]["overlapping_area"] == pytest.approx(expected)
