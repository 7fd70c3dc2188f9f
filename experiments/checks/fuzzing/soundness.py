"""What performances, those from files and those from tokens must satisfy."""

import json
import tempfile
from pathlib import Path

import numpy as np

from midijax import midi, primer, survey
from midijax.events import NOTE_ON, NOTEBOOK, OORE_2018, PERFORMANCE_RNN, EventVocabulary
from midijax.performance import Performance

PRESETS = (OORE_2018, PERFORMANCE_RNN, NOTEBOOK)


def faults(performance: Performance) -> list[str]:
    """What no performance may be."""
    notes, pedal = performance.notes, performance.pedal
    onset, offset, pitch = notes["onset"], notes["offset"], notes["pitch"].astype(int)
    later, higher = np.diff(onset), np.diff(pitch)
    wrong = {
        "times are not finite": not np.isfinite(offset).all() or not np.isfinite(onset).all(),
        "onset before the start": (onset < 0).any(),
        "offset before onset": (offset < onset).any(),
        "notes out of order": ((later < 0) | ((later == 0) & (higher < 0))).any(),
        "pitch over 127": (pitch > 127).any(),
        "velocity not in 1..127": ((notes["velocity"] < 1) | (notes["velocity"] > 127)).any(),
        "pedal out of order": (np.diff(pedal["time"]) < 0).any(),
        "pedal before the start": (pedal["time"] < 0).any(),
        "pedal over 127": (pedal["value"] > 127).any(),
    }
    return [fault for fault, is_so in wrong.items() if is_so]


def file_faults(performance: Performance) -> list[str]:
    """What no performance from a file may be."""
    wrong = {
        "no notes": not len(performance.notes),
        "too many notes": len(performance.notes) > midi.MAX_NOTES,
        "too long": performance.duration > midi.MAX_SECONDS,
    }
    return faults(performance) + [fault for fault, is_so in wrong.items() if is_so]


def decoded_faults(
    vocabulary: EventVocabulary, tokens: np.ndarray, performance: Performance
) -> list[str]:
    """What no performance from these tokens may be."""
    events = tokens[(tokens >= 0) & (tokens < vocabulary.size)]
    onset, offset = (
        performance.notes[field] * vocabulary.steps_per_second for field in ("onset", "offset")
    )
    length = offset - onset
    steps = int(vocabulary.steps(events)[-1:].sum())
    wrong = {
        "notes lost or added": len(onset) != (vocabulary.kinds[events] == NOTE_ON).sum(),
        "times between steps": (np.abs(onset - np.rint(onset)) > 1e-6).any(),
        "shorter than a step": (length < 1 - 1e-6).any(),
        "longer than its events": (offset > steps + 1 + 1e-6).any(),
        "a pedal": len(performance.pedal) > 0,
    }
    return faults(performance) + [fault for fault, is_so in wrong.items() if is_so]


def carry_on(performance: Performance) -> list[str]:
    """Takes a performance through the pedal, the vocabularies, a primer, the survey and a file."""
    sustained = performance.apply_sustain()
    found = faults(sustained) + faults(performance.stretch(1.05))
    for vocabulary in PRESETS:
        tokens = vocabulary.encode(performance)
        decoded = vocabulary.decode(tokens)
        found += decoded_faults(vocabulary, tokens, decoded)
        if len(decoded.notes) != len(sustained.notes):
            found.append("notes lost in encoding")
        heard = primer.encode(vocabulary, performance, 5.0)
        found += faults(primer.join(vocabulary, heard, tokens[:100], include_primer=False))
    json.dumps(survey.measure(performance).summary(), allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        midi.write(performance, Path(folder, "x.mid"))
        back = midi.read(Path(folder, "x.mid"))
    if sorted(back.notes["pitch"]) != sorted(performance.notes["pitch"]):
        found.append("notes lost in writing")
    return found
