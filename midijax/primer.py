"""The music that a performance goes on from, and its place in the result."""

import numpy as np

from midijax.errors import UserError
from midijax.events import EventVocabulary
from midijax.performance import Performance


def encode(vocabulary: EventVocabulary, performance: Performance, seconds: float) -> np.ndarray:
    """The events of the first `seconds` from the first note on, int32 (events,).

    The pedal is folded into the note-offs, as in training. A key struck again while its note sounds
    ends that note, as on a piano. Notes that sound at the cut have no note-off: what follows may
    hold them on.

    Raises:
      UserError: `seconds` is not positive, or there is no note.
    """
    if not 0 < seconds < float("inf"):
        raise UserError(f"primer_seconds={seconds} must be above 0")
    notes = performance.apply_sustain().notes
    if not len(notes):
        raise UserError("the primer has no notes; choose a recording with some")
    start = notes["onset"].min()
    notes = notes[notes["onset"] - start < seconds]
    notes["onset"] -= start
    notes["offset"] -= start
    tokens = vocabulary.encode(Performance(_end_when_struck_again(vocabulary, notes)))
    heard = min(seconds, performance.duration + 1)  # the music ends before, whatever was asked for
    return _cut(vocabulary, tokens, max(1, round(heard * vocabulary.steps_per_second)))


def join(
    vocabulary: EventVocabulary, primer: np.ndarray, tokens: np.ndarray, include_primer: bool
) -> Performance:
    """The performance that a primer and the events after it tell.

    Without the primer time starts where it ended, at its loudness, and its notes are left out even
    where they are held into the new music.
    """
    performance = vocabulary.decode(np.concatenate((primer, tokens)))
    if include_primer:
        return performance
    start = vocabulary.steps(primer)[-1:].sum() / vocabulary.steps_per_second
    notes = performance.notes[performance.notes["onset"] >= start]
    notes["onset"] -= start
    notes["offset"] -= start
    return Performance(notes)


def _end_when_struck_again(vocabulary: EventVocabulary, notes: np.ndarray) -> np.ndarray:
    """Cuts notes at their key's next stroke; of strokes in one step the last remains."""
    notes = notes[np.lexsort((notes["onset"], notes["pitch"]))]
    same_key = np.append(notes["pitch"][1:] == notes["pitch"][:-1], False)
    next_onset = np.where(same_key, np.append(notes["onset"][1:], np.inf), np.inf)
    notes["offset"] = np.minimum(notes["offset"], next_onset)
    step = vocabulary.seconds_to_steps(notes["onset"])
    in_one_step = same_key & (np.append(step[1:], -1) == step)
    return notes[~in_one_step]


def _cut(vocabulary: EventVocabulary, tokens: np.ndarray, num_steps: int) -> np.ndarray:
    """What happens before `num_steps`, and a time-shift up to there if it is not all."""
    steps = vocabulary.steps(tokens)
    before = tokens[steps < num_steps]
    if len(before) == len(tokens):
        return tokens
    rest = num_steps - steps[len(before) - 1]
    return np.append(before, np.int32(vocabulary.shift_base - 1 + rest))
