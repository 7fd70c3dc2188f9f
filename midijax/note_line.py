"""A performance as one line of notes, in which passages can be looked for."""

import numpy as np

from midijax.performance import Performance

CHORD_STEPS = 3  # of 10 ms: notes struck no further apart are a chord


def note_line(performance: Performance) -> np.ndarray:
    """The notes in order of onset, those of a chord from the lowest to the highest (NOTE_DTYPE).

    No two players, and no two playings, strike a chord in the same order. A note belongs to the
    chord of the note before it if it is struck at most CHORD_STEPS later, both rounded to 10 ms. So
    at another speed a note may leave its chord, and what follows no longer be the same line.
    """
    notes = performance.notes
    steps = np.floor(notes["onset"] * 100 + 0.5)
    chord = np.cumsum(np.diff(steps, prepend=steps[:1]) > CHORD_STEPS)
    return notes[np.lexsort((notes["pitch"], chord))]
