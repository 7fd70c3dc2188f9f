import time

import numpy as np
import pytest

from midijax import etudes
from midijax.interpretation import tempo_curve

SEEDS = range(30)


def phrase_position(plan, seconds):
    """Where in its phrase each time falls, 0..1."""
    beats = np.interp(seconds, *reversed(tempo_curve(plan.manner)))
    return beats % plan.manner.beats_per_phrase / plan.manner.beats_per_phrase


def test_corpus_holds_distinct_pieces_and_is_composed_in_seconds():
    start = time.process_time()
    corpus = etudes.corpus()
    assert time.process_time() - start < 5
    assert len(corpus) == etudes.NUM_ETUDES
    assert len({name for name, _ in corpus}) == etudes.NUM_ETUDES
    assert len({performance.notes.tobytes() for _, performance in corpus}) == etudes.NUM_ETUDES


def test_larger_corpus_begins_with_the_smaller_and_seeds_differ():
    small, large = etudes.corpus(2, seed=5), etudes.corpus(3, seed=5)
    for (name, performance), (other_name, other) in zip(small, large, strict=False):
        assert name == other_name
        assert performance.notes.tobytes() == other.notes.tobytes()
        assert performance.pedal.tobytes() == other.pedal.tobytes()
    other_seed = etudes.corpus(1, seed=6)[0][1]
    assert other_seed.notes.tobytes() != small[0][1].notes.tobytes()


def test_etudes_are_the_same_everywhere():
    """Scores published for the études rest on exactly this music."""
    notes = etudes.corpus(1)[0][1].notes
    assert (len(notes), int(notes["pitch"].sum()), int(notes["velocity"].sum())) == (
        205,
        12201,
        13817,
    )
    assert round(float(notes["onset"].sum()), 3) == 3786.162


@pytest.mark.parametrize("seed", SEEDS)
def test_etudes_can_be_played_on_a_piano(seed):
    performance = etudes.compose(seed)
    notes = performance.notes
    assert 30 <= performance.duration <= 60
    assert 21 <= notes["pitch"].min() <= notes["pitch"].max() <= 108
    assert 1 <= notes["velocity"].min() <= notes["velocity"].max() <= 127
    assert (notes["onset"] >= 0).all()
    assert (notes["offset"] - notes["onset"] >= 0.025).all()
    by_pitch = notes[np.lexsort((notes["onset"], notes["pitch"]))]
    gaps = by_pitch["onset"][1:] - by_pitch["offset"][:-1]
    assert (gaps[np.diff(by_pitch["pitch"]) == 0] >= 0.025).all()
    assert len(performance.apply_sustain().notes) == len(notes)


@pytest.mark.parametrize("seed", SEEDS)
def test_etudes_are_in_their_key(seed):
    plan, notes = etudes.make_plan(seed), etudes.compose(seed).notes
    chords = [chord for letter in plan.form for chord in plan.progressions[letter]]
    allowed = {pitch % 12 for chord in chords for pitch in chord.scale()}
    assert set((notes["pitch"] % 12).tolist()) <= allowed
    home = etudes.Chord(plan.key, etudes.TONIC).scale() % 12
    assert np.isin(notes["pitch"] % 12, home).mean() > 0.75
    last_chord = notes[notes["onset"] > notes["onset"].max() - 0.1]
    third = 3 if plan.key.minor else 4
    tonic_triad = {(plan.key.tonic + step) % 12 for step in (0, third, 7)}
    assert set((last_chord["pitch"] % 12).tolist()) == tonic_triad
    assert last_chord["pitch"].min() % 12 == last_chord["pitch"].max() % 12 == plan.key.tonic


def test_dominant_of_a_minor_key_has_the_leading_note():
    dominant = etudes.Chord(etudes.Key(tonic=9, minor=True), etudes.DOMINANT)
    assert set((dominant.tones() % 12).tolist()) == {4, 8, 11, 2}  # E G sharp B D
    assert set((dominant.root() % 12).tolist()) == {4}


def test_corpus_uses_both_modes_both_metres_and_most_keys():
    plans = [etudes.make_plan(seed) for seed in range(100)]
    assert {plan.key.minor for plan in plans} == {False, True}
    assert {plan.manner.beats_per_bar for plan in plans} == {3, 4}
    assert len({plan.key.tonic for plan in plans}) == 12


@pytest.mark.parametrize("seed", SEEDS)
def test_tempo_bends_within_bounds_and_broadens_at_the_end_of_phrases(seed):
    plan = etudes.make_plan(seed)
    beats, seconds = tempo_curve(plan.manner)
    speed = np.diff(beats) / np.diff(seconds) * 60 / plan.manner.beats_per_minute
    assert 0.5 <= speed.min() < 0.6
    assert 1.0 < speed.max() <= 1.1
    for phrase in np.split(speed, plan.manner.num_phrases):
        assert phrase[-20:].mean() < 0.85 * phrase[len(phrase) // 2]
    assert speed.argmin() == len(speed) - 1


@pytest.mark.parametrize("seed", SEEDS)
def test_melody_sings_out_and_phrases_swell(seed):
    plan, notes = etudes.make_plan(seed), etudes.compose(seed).notes
    velocity = notes["velocity"].astype(float)
    is_melody = notes["pitch"] >= etudes.MELODY_FLOOR
    assert velocity[is_melody].mean() - velocity[~is_melody].mean() > 12
    position = phrase_position(plan, notes["onset"][~is_melody])
    middle = velocity[~is_melody][(position > 0.35) & (position < 0.6)]
    end = velocity[~is_melody][(position > 0.85) & (position < 0.98)]
    assert middle.mean() > end.mean() + 3


@pytest.mark.parametrize("seed", SEEDS)
def test_pedal_is_lifted_just_after_each_new_harmony(seed):
    plan, pedal = etudes.make_plan(seed), etudes.compose(seed).pedal
    down = pedal["value"] >= 64
    assert (down == (np.arange(len(pedal)) % 2 == 0)).all()
    assert (np.diff(pedal["time"]) > 0).all()
    beats, seconds = tempo_curve(plan.manner)
    bar_lines = np.arange(plan.manner.beats_per_bar, beats[-1], plan.manner.beats_per_bar)
    lifts = pedal["time"][~down]
    for bar_line in np.interp(bar_lines, beats, seconds):
        assert ((lifts > bar_line) & (lifts < bar_line + 0.1)).sum() == 1
