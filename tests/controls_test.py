import numpy as np
import pytest

from midijax.config import Config
from midijax.controls import (
    DENSITY_KNOTS,
    KINDS,
    LOUDNESS_KNOTS,
    PITCH_CLASS_PRIOR,
    Ahead,
    Controls,
    Wishes,
    schedule,
)
from midijax.errors import UserError
from midijax.performance import NOTE_DTYPE, Performance

CONTROLS = Controls(enabled=True, composers=("Chopin", "Bach"))
SPANS = CONTROLS.spans


def performance(*notes):
    return Performance(np.array(list(notes), NOTE_DTYPE))


def test_measures_what_lies_ahead_of_each_moment():
    ahead = Ahead(performance((0, 2, 60, 40), (1, 2, 64, 80), (4.5, 20, 67, 60)))
    moments = np.array([0.0, 0.5, 1.6, 30.0, 1.5])  # the last: 3 s before a note
    measured = ahead.measure(moments, KINDS)
    np.testing.assert_allclose(measured["notes_per_second"], [2 / 3, 1 / 3, 1 / 3, 0, 0])
    np.testing.assert_allclose(measured["loudness"], [60, 80, 60, np.nan, np.nan])
    harmony = np.zeros((5, 12))
    harmony[0, [0, 4, 7]] = 2, 1, 5  # no note counts for more than five seconds
    harmony[1, [4, 7]] = 1, 5
    harmony[[2, 4], 7] = 5
    np.testing.assert_allclose(measured["pitch_classes"], harmony + PITCH_CLASS_PRIOR)


@pytest.mark.parametrize(
    "kind, knots", [("notes_per_second", DENSITY_KNOTS), ("loudness", LOUDNESS_KNOTS)]
)
def test_a_number_is_told_by_the_knots_beside_it(kind, knots):
    values = np.linspace(knots[0], knots[-1], 200)
    features = CONTROLS.features(**{kind: values}, num_moments=200)
    told = features[:, SPANS[kind]]
    np.testing.assert_allclose(told @ knots, values, rtol=1e-6)
    np.testing.assert_allclose(told.sum(1), 1, rtol=1e-6)
    assert (np.count_nonzero(told, axis=1) <= 2).all()
    assert features.sum() == pytest.approx(told.sum())


def test_numbers_beyond_the_knots_are_told_as_the_last_and_none_as_nothing():
    values = np.array([-1.0, 99.0, np.nan])
    told = CONTROLS.features(notes_per_second=values, num_moments=3)[:, SPANS["notes_per_second"]]
    np.testing.assert_array_equal(told[0], np.eye(len(DENSITY_KNOTS))[0])
    np.testing.assert_array_equal(told[1], np.eye(len(DENSITY_KNOTS))[-1])
    assert not told[2].any()


def test_a_composer_is_one_feature_and_an_unknown_one_none():
    names = ("Chopin", "Bach", "Cage")
    chopin, bach, other = (CONTROLS.features(composer=name) for name in names)
    assert chopin[0, SPANS["composer"]].tolist() == [1, 0] and chopin.sum() == 1
    assert bach[0, SPANS["composer"]].tolist() == [0, 1] and bach.sum() == 1
    assert not other.any()


def test_models_without_controls_have_no_features():
    assert Controls().num_features == 0
    assert CONTROLS.num_features == len(DENSITY_KNOTS) + 12 + len(LOUDNESS_KNOTS) + 2
    assert Config(controls=CONTROLS) != Config()


def test_schedules_of_different_parts_are_told_together():
    wishes = Wishes(notes_per_second=(2.0, 8.0), loudness=(40.0, 60.0, 80.0), composer=("Bach",))
    begins, features = schedule(CONTROLS, wishes)
    np.testing.assert_allclose(begins, [0, 1 / 3, 1 / 2, 2 / 3])
    density = features[:, SPANS["notes_per_second"]] @ DENSITY_KNOTS
    loudness = features[:, SPANS["loudness"]] @ LOUDNESS_KNOTS
    np.testing.assert_allclose(density, [2, 2, 8, 8])
    np.testing.assert_allclose(loudness, [40, 60, 60, 80])
    assert (features[:, SPANS["composer"]] == [0, 1]).all()


def test_no_part_of_a_schedule_is_lost_to_rounding():
    for count in range(1, 60):
        densities = tuple(np.linspace(0, 32, count).tolist())
        _, features = schedule(CONTROLS, Wishes(notes_per_second=densities))
        told = features[:, SPANS["notes_per_second"]] @ DENSITY_KNOTS
        np.testing.assert_allclose(told, densities, atol=1e-5)


@pytest.mark.parametrize(
    "wish, message",
    [
        ({"notes_per_second": (33.0,)}, "notes_per_second=33.0 must be from 0 to 32"),
        ({"notes_per_second": (float("nan"),)}, "notes_per_second=nan must be"),
        ({"loudness": (0.0,)}, "loudness=0.0 must be a MIDI velocity"),
        ({"pitch_classes": ((1.0,) * 11,)}, "must be 12 weights"),
        ({"pitch_classes": ((0.0,) * 12,)}, "not all of them 0"),
        ({"guidance": -1.0}, "guidance=-1.0 must be from 0 to 10"),
    ],
)
def test_wishes_out_of_range_are_refused(wish, message):
    with pytest.raises(UserError, match=message):
        Wishes(**wish)


def test_wishes_that_the_model_does_not_know_are_refused():
    with pytest.raises(UserError, match="trained without controls: leave out --loudness"):
        schedule(Controls(), Wishes(loudness=(60.0,)))
    with pytest.raises(UserError, match="composer=Cage must be one the model knows: Chopin, Bach"):
        schedule(CONTROLS, Wishes(composer=("Cage",)))


@pytest.mark.parametrize(
    "name, column",
    [("Bach", 0), ("frederic chopin", 2), ("CHOPIN", 2), ("christian", 1), ("Чайко́вский", 3)],
)
def test_a_composer_is_known_by_words_of_the_name(name, column):
    composers = ("Bach", "Johann Christian Bach", "Frédéric Chopin", "Пётр Чайковский")
    controls = Controls(enabled=True, composers=composers)
    _, features = schedule(controls, Wishes(composer=(name,)))
    assert features[0, controls.spans["composer"]].tolist() == np.eye(4)[column].tolist()


@pytest.mark.parametrize(
    "name, meant", [("Schumann", "Clara Schumann, Robert Schumann"), ("", "Clara .*, Bach")]
)
def test_a_composer_who_could_be_several_is_refused(name, meant):
    controls = Controls(enabled=True, composers=("Clara Schumann", "Robert Schumann", "Bach"))
    with pytest.raises(UserError, match=f"composer={name} must be one the model knows: {meant}$"):
        schedule(controls, Wishes(composer=(name,)))


def test_two_composers_of_one_name_are_refused():
    with pytest.raises(UserError, match="different names"):
        Controls(composers=("Bach", "Bach"))
