"""A small corpus composed by rule: songs without words, with rubato, dynamics and pedal.

Each étude is a melody over a left-hand figure in the form a A b A (or a A b a A in triple time):
phrases of four bars, `a` closing on the dominant, `A` on the tonic, `b` in a neighbouring key.
"""

import itertools
from typing import NamedTuple

import numpy as np

from midijax.interpretation import Line, Manner, join, perform
from midijax.performance import Performance

NUM_ETUDES = 100

BARS_PER_PHRASE = 4
FORMS = {4: "aAbA", 3: "aAbaA"}
MAJOR = (0, 2, 4, 5, 7, 9, 11)
NATURAL_MINOR = (0, 2, 3, 5, 7, 8, 10)
MELODIC_MINOR = (0, 2, 3, 5, 7, 9, 11)
TONIC, DOMINANT = 0, 4  # degrees of the scale, from 0

# Harmony, a degree per bar.
OPENINGS = ((0, 5), (0, 3), (0, 1), (0, 4))
HALF_CLOSES = ((1, 4), (3, 4), (0, 4))
MIDDLES = ((4, 0, 3), (0, 5, 1), (0, 3, 0), (5, 1, 4))

# Melody, note lengths in beats, by beats per bar.
RHYTHMS = {
    4: (
        (1, 1, 1, 1),
        (2, 1, 1),
        (1.5, 0.5, 1, 1),
        (1, 0.5, 0.5, 1, 1),
        (1.5, 0.5, 1.5, 0.5),
        (0.5, 0.5, 0.5, 0.5, 1, 1),
        (0.5,) * 8,
        (3, 0.5, 0.5),
    ),
    3: ((2, 1), (1, 1, 1), (1.5, 0.5, 1), (1, 0.5, 0.5, 1), (0.5,) * 6, (2, 0.5, 0.5)),
}
# Left hand, equal steps through a bar: 0 is the bass, 1 and up the chord from below.
FIGURES = {
    4: (
        "0 3 2 3 1 3 2 3",
        "0 1 2 3 2 1 2 1",
        "0 123 123 123",
        "0 23 1 23 0 23 1 23",
        "0 2 3 1 2 3 1 2 3 1 2 3",
    ),
    3: ("0 123 123", "0 1 2 3 2 1", "0 3 2 3 1 3", "0 23 1 23 1 23"),
}
LAST_BAR = "0123"

BASS_FLOOR, CHORD_FLOOR, MELODY_FLOOR, MELODY_CEILING = 36, 50, 64, 91


class Key(NamedTuple):
    """A tonic (pitch class, C is 0) and its mode."""

    tonic: int
    minor: bool

    def neighbour(self) -> "Key":
        """Where the middle phrase goes: from major to the dominant, from minor to the relative."""
        return Key((self.tonic + (3 if self.minor else 7)) % 12, False)


class Chord(NamedTuple):
    """The harmony of a bar: a degree of a key."""

    key: Key
    degree: int

    @property
    def steps(self) -> np.ndarray:
        """The scale in semitones above the tonic; a minor dominant borrows the leading note."""
        minor = MELODIC_MINOR if self.degree == DOMINANT else NATURAL_MINOR
        return np.array(minor if self.key.minor else MAJOR)

    def scale(self) -> np.ndarray:
        """The pitches of the scale."""
        return _pitches(self.key.tonic, self.steps)

    def tones(self) -> np.ndarray:
        """The pitches of the triad, or of the seventh chord on the dominant."""
        degrees = np.arange(4 if self.degree == DOMINANT else 3) * 2 + self.degree
        return _pitches(self.key.tonic, self.steps[degrees % 7])

    def root(self) -> np.ndarray:
        """The pitches of the root, in every octave."""
        return _pitches(self.key.tonic, self.steps[self.degree])


class Plan(NamedTuple):
    """What is decided before the first note of an étude."""

    seed: int
    key: Key
    manner: Manner
    form: str  # a letter per phrase
    figures: dict[str, str]
    rhythms: tuple[int, int]
    progressions: dict[str, list[Chord]]


def compose(seed: int) -> Performance:
    """One étude of 30 to 60 seconds, the same for the same seed."""
    plan = make_plan(seed)
    rng = np.random.default_rng((seed, 2))
    return perform(plan.manner, _melody(plan), _accompaniment(plan), rng)


def corpus(count: int = NUM_ETUDES, seed: int = 0) -> list[tuple[str, Performance]]:
    """The first `count` études of a seed, each with its name; more begin with the same ones."""
    seeds = (np.random.SeedSequence((seed, index)).generate_state(1)[0] for index in range(count))
    return [(f"etude-{index:03d}", compose(int(each))) for index, each in enumerate(seeds)]


def make_plan(seed: int) -> Plan:
    """Draws key, metre, tempo, harmony and texture."""
    rng = np.random.default_rng((seed, 0))
    beats_per_bar = int(rng.choice((4, 4, 3)))
    form = FORMS[beats_per_bar]
    key = Key(int(rng.integers(12)), bool(rng.random() < 0.45))
    figures = rng.permutation(np.array(FIGURES[beats_per_bar]))
    manner = Manner(
        beats_per_bar=beats_per_bar,
        beats_per_phrase=BARS_PER_PHRASE * beats_per_bar,
        num_phrases=len(form),
        climax=form.index("b"),
        beats_per_minute=60 * len(form) * BARS_PER_PHRASE * beats_per_bar / rng.uniform(34, 48),
        loudness=rng.uniform(44, 66),
        legato=rng.choice((0.7, 0.95, 1.02)),
    )
    return Plan(
        seed=seed,
        key=key,
        manner=manner,
        form=form,
        figures={"a": str(figures[0]), "A": str(figures[0]), "b": str(figures[1])},
        rhythms=tuple(rng.permutation(len(RHYTHMS[beats_per_bar]))[:2].tolist()),
        progressions=_progressions(key, rng),
    )


def _progressions(key: Key, rng: np.random.Generator) -> dict[str, list[Chord]]:
    opening = OPENINGS[rng.integers(len(OPENINGS))]
    half_close = HALF_CLOSES[rng.integers(len(HALF_CLOSES))]
    middle = MIDDLES[rng.integers(len(MIDDLES))]
    return {
        "a": [Chord(key, degree) for degree in opening + half_close],
        "A": [Chord(key, degree) for degree in (*opening, DOMINANT, TONIC)],
        "b": [Chord(key.neighbour(), degree) for degree in middle] + [Chord(key, DOMINANT)],
    }


def _melody(plan: Plan) -> Line:
    """Chord notes on the strong beats along an arch, steps of the scale in between."""
    phrases = []
    for index, letter in enumerate(plan.form):
        beats, lengths = _melody_rhythm(plan)
        chords = plan.progressions[letter]
        # A phrase that returns brings its tune back: the same letter draws the same numbers.
        rng = np.random.default_rng((plan.seed, 1, ord(letter.lower())))
        pitches = _melody_pitches(plan, beats, chords, rng)
        phrases.append(Line(beats + index * plan.manner.beats_per_phrase, lengths, pitches))
    return join(phrases)


def _melody_rhythm(plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Beats and lengths of one phrase: two bars, the first again, and a long last note."""
    first, second = (RHYTHMS[plan.manner.beats_per_bar][index] for index in plan.rhythms)
    lengths = np.concatenate((first, second, first, (plan.manner.beats_per_bar,)))
    return np.cumsum(lengths) - lengths, lengths


def _melody_pitches(
    plan: Plan, beats: np.ndarray, chords: list[Chord], rng: np.random.Generator
) -> np.ndarray:
    position = beats / plan.manner.beats_per_phrase
    centre, height = rng.uniform(68, 75), rng.choice((-5, 6, 9, 11))
    targets = centre + height * np.sin(np.pi * position) + rng.uniform(-3, 3, len(beats))
    bars = (beats // plan.manner.beats_per_bar).astype(int)
    in_bar = beats % plan.manner.beats_per_bar
    strong_beats = 2 if plan.manner.beats_per_bar == 4 else 3
    strong = np.flatnonzero(in_bar % strong_beats == 0).tolist()
    pitches = np.zeros(len(beats), int)
    for note in strong:
        chord = chords[bars[note]]
        closing = note == strong[-1] and chord.degree == TONIC
        pitches[note] = _nearest(chord.root() if closing else chord.tones(), targets[note])
    for start, end in itertools.pairwise(strong):
        for note in range(start + 1, end):
            scale = chords[bars[note]].scale()
            pitches[note] = _step_towards(
                scale, pitches[note - 1], pitches[end], end - note + 1, rng.random() < 0.5
            )
    return pitches


def _step_towards(scale: np.ndarray, last: int, goal: int, notes_left: int, upwards: bool) -> int:
    """A passing note on the way to `goal`, or the neighbour above or below if already there."""
    here, there = np.abs(scale - last).argmin(), np.abs(scale - goal).argmin()
    step = round((there - here) / notes_left)
    return int(scale[here + (step or (1 if upwards else -1))])


def _accompaniment(plan: Plan) -> Line:
    """The left-hand figure of each phrase on the chord of each bar, and a last chord."""
    bars = [
        (chord, plan.figures[letter]) for letter in plan.form for chord in plan.progressions[letter]
    ]
    bars[-1] = (bars[-1][0], LAST_BAR)
    return join(
        [
            _bar_figure(chord, figure, index * plan.manner.beats_per_bar, plan.manner.beats_per_bar)
            for index, (chord, figure) in enumerate(bars)
        ]
    )


def _bar_figure(chord: Chord, figure: str, start: int, beats_per_bar: int) -> Line:
    tones, roots = chord.tones(), chord.root()
    bass = roots[roots >= BASS_FLOOR][0]
    voices = np.append(bass, tones[(tones >= CHORD_FLOOR) & (tones < CHORD_FLOOR + 12)])
    steps = figure.split()
    length = beats_per_bar / len(steps)
    struck = [(index, int(voice)) for index, step in enumerate(steps) for voice in step]
    index, voice = np.array(struck).T
    # The bass is held until the pedal has caught it.
    return Line(start + index * length, np.where(voice, length, max(length, 1)), voices[voice])


def _pitches(tonic: int, steps: np.ndarray) -> np.ndarray:
    """Every pitch of the keyboard that lies so many semitones above some tonic."""
    pitches = np.arange(21, 109)
    return pitches[np.isin((pitches - tonic) % 12, steps)]


def _nearest(pitches: np.ndarray, target: float) -> int:
    in_range = pitches[(pitches >= MELODY_FLOOR) & (pitches <= MELODY_CEILING)]
    return int(in_range[np.abs(in_range - target).argmin()])
