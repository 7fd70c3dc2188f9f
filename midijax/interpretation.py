"""From a score to the keys: when each is struck and released, how hard, and the pedal."""

from typing import NamedTuple

import numpy as np

from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

SHORTEST_NOTE = 0.03  # seconds, and the least silence before a key is struck again


class Line(NamedTuple):
    """A part of the score: for each note its beat, length in beats and pitch."""

    beats: np.ndarray
    lengths: np.ndarray
    pitches: np.ndarray


class Manner(NamedTuple):
    """How a piece in phrases of equal length is played.

    Attributes:
      beats_per_bar, beats_per_phrase, num_phrases: its shape.
      climax: the phrase that is played loudest, from 0.
      beats_per_minute: the tempo that rubato bends.
      loudness: MIDI velocity about which the accompaniment's dynamics move.
      legato: how long notes are held, as a share of their length.
    """

    beats_per_bar: int
    beats_per_phrase: int
    num_phrases: int
    climax: int
    beats_per_minute: float
    loudness: float
    legato: float


def perform(
    manner: Manner, melody: Line, accompaniment: Line, rng: np.random.Generator
) -> Performance:
    """Plays a melody and its accompaniment."""
    score = join([melody, accompaniment])
    is_melody = np.arange(len(score.beats)) < len(melody.beats)
    beats, seconds = tempo_curve(manner)
    notes = np.empty(len(score.beats), NOTE_DTYPE)
    held = score.lengths * np.where(is_melody, manner.legato, min(manner.legato, 0.9))
    release = np.interp(score.beats + held, beats, seconds)
    # Pianists let the melody sound a little before the rest.
    asynchrony = rng.uniform(0, 0.016, len(notes)) + np.where(is_melody, 0, 0.012)
    notes["onset"] = np.interp(score.beats, beats, seconds) + asynchrony
    notes["offset"] = release + rng.uniform(0, 0.03, len(notes))
    notes["pitch"] = score.pitches
    notes["velocity"] = _velocities(manner, score, is_melody, rng)
    return Performance(_restrike(notes), _pedal(manner, beats, seconds, rng))


def tempo_curve(manner: Manner) -> tuple[np.ndarray, np.ndarray]:
    """Beats and the seconds they fall on: a phrase moves on in its middle and broadens at its end.

    The speed stays between 0.5 and 1.1 times `beats_per_minute`.
    """
    num_phrases = manner.num_phrases
    beats = np.linspace(0, num_phrases * manner.beats_per_phrase, num_phrases * 384 + 1)
    phrase = np.minimum(beats // manner.beats_per_phrase, num_phrases - 1)
    position = beats / manner.beats_per_phrase - phrase
    broadening = np.where(phrase == num_phrases - 1, 0.42, 0.2)
    late = np.maximum(position - 0.7, 0) / 0.3
    speed = 0.94 + 0.14 * np.sin(np.pi * np.minimum(position / 0.9, 1)) - broadening * late**2
    pace = 60 / manner.beats_per_minute / speed
    steps = np.diff(beats) * (pace[1:] + pace[:-1]) / 2
    return beats, np.append(0, np.cumsum(steps))


def _velocities(
    manner: Manner, score: Line, is_melody: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """An arch over each phrase, the bar's accents, the melody above the rest."""
    position = score.beats % manner.beats_per_phrase / manner.beats_per_phrase
    arch = 14 * np.sin(np.pi * np.minimum(position * 1.1, 1))
    in_bar = score.beats % manner.beats_per_bar
    accent = np.where(in_bar == 0, 6, np.where(in_bar % 1 == 0, 1, -3))
    voicing = np.where(is_melody, 16 + 0.5 * (score.pitches - 72), -4)
    climax = score.beats // manner.beats_per_phrase == manner.climax
    chance = rng.uniform(-4, 4, len(arch))
    velocity = manner.loudness + arch + accent + voicing + 8 * climax + chance
    return np.clip(np.round(velocity), 1, 127)


def _restrike(notes: np.ndarray) -> np.ndarray:
    """Rounds times to milliseconds and lifts every key before it is struck again."""
    notes = notes[np.lexsort((notes["onset"], notes["pitch"]))]
    again = np.append(notes["onset"][1:], np.inf)
    again[:-1][np.diff(notes["pitch"]) != 0] = np.inf
    release = np.maximum(notes["offset"], notes["onset"] + SHORTEST_NOTE)
    notes["offset"] = np.minimum(release, again - SHORTEST_NOTE)
    for field in ("onset", "offset"):
        notes[field] = np.round(notes[field], 3)
    return notes


def _pedal(
    manner: Manner, beats: np.ndarray, seconds: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Legato pedalling: up just after each new harmony, down again shortly after that."""
    every = 2 if manner.beats_per_bar == 4 else 3
    changes = np.interp(np.arange(0, beats[-1], every), beats, seconds)
    down = changes + rng.uniform(0.15, 0.22, len(changes))
    up = np.append(changes[1:], seconds[-1]) + rng.uniform(0.03, 0.07, len(changes))
    up[-1] += 0.8
    pedal = np.empty(2 * len(changes), PEDAL_DTYPE)
    pedal["time"] = np.round(np.stack((down, up), axis=1).ravel(), 3)
    pedal["value"] = np.stack((rng.integers(90, 128, len(changes)), 0 * up), axis=1).ravel()
    return pedal


def join(lines: list[Line]) -> Line:
    """One part out of several."""
    return Line(*(np.concatenate(parts) for parts in zip(*lines, strict=True)))
