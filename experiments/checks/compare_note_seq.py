"""Compares the tokens of midijax with those of note_seq, on every MIDI file of a folder.

The 388-event vocabulary of Performance RNN is encoded by both, from the file to the ids, and
compared token for token. note_seq (0.0.5) needs an environment of its own:

    python3 -m venv /tmp/note_seq && /tmp/note_seq/bin/pip install note-seq==0.0.5
    python experiments/checks/compare_note_seq.py --input=FOLDER \\
        --note_seq_python=/tmp/note_seq/bin/python

The only difference allowed is in files with a note whose key goes down and up in one tick: note_seq
drops it, or leaves it open if the key was down before; here it lasts one step. The exit code is 1
if any other file differs.

Measured on MAESTRO v3 (train and validation, 1,099 files) and 37 files of the International
Piano-e-Competition, 18 minutes on half a busy core: 1,126 equal, 10 different with zero-length
notes (all of the Competition), none different otherwise.
"""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from absl import flags

from midijax import cli, midi, progress, sources
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN

FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of MIDI files, searched to its depth.", flag_values=FLAGS
)
_NOTE_SEQ_PYTHON = flags.DEFINE_string(
    "note_seq_python", None, "Python interpreter with note-seq installed.", flag_values=FLAGS
)
_EVERY = flags.DEFINE_integer(
    "every", 1, "Take every n-th file only.", lower_bound=1, flag_values=FLAGS
)

# Reads file names from its input, one a line, and prints the ids of each as a line of JSON.
NOTE_SEQ_PROGRAM = """
import json, sys
from note_seq import midi_file_to_note_sequence, apply_sustain_control_changes
from note_seq.performance_encoder_decoder import PerformanceOneHotEncoding
from note_seq.performance_lib import Performance
from note_seq.sequences_lib import quantize_note_sequence_absolute

encoding = PerformanceOneHotEncoding(num_velocity_bins=32, max_shift_steps=100)
for line in sys.stdin:
    sequence = apply_sustain_control_changes(midi_file_to_note_sequence(line.rstrip("\\n")))
    quantized = quantize_note_sequence_absolute(sequence, 100)
    performance = Performance(quantized_sequence=quantized, num_velocity_bins=32)
    print(json.dumps([encoding.encode_event(event) for event in performance]), flush=True)
"""


def main(arguments: list[str]) -> int:
    """Prints a line per differing file and the totals."""
    cli.reject(arguments, FLAGS)
    if not _INPUT.value or not _NOTE_SEQ_PYTHON.value:
        raise UserError("--input and --note_seq_python are both needed")
    files = sources.midi_files(cli.path(_INPUT.value))[:: _EVERY.value]
    python = str(cli.path(_NOTE_SEQ_PYTHON.value))
    equal, allowed, other = 0, 0, 0
    for path, theirs in progress.bar(note_seq_tokens(files, python), total=len(files)):
        performance = midi.read(path)
        ours = PERFORMANCE_RNN.encode(performance)
        if np.array_equal(ours, theirs):
            equal += 1
            continue
        zero_length = int((performance.notes["onset"] == performance.notes["offset"]).sum())
        allowed += zero_length > 0
        other += zero_length == 0
        print(f"{path}: differs {_first_difference(ours, theirs)}, {zero_length=}")
    print(f"{equal} equal, {allowed} different with zero-length notes, {other} different otherwise")
    return 1 if other else 0


def note_seq_tokens(files: list[Path], python: str) -> Iterator[tuple[Path, np.ndarray]]:
    """Each file with the ids that note_seq gives it, computed by another interpreter."""
    command = [python, "-W", "ignore", "-c", NOTE_SEQ_PROGRAM]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        for path in files:
            print(path, file=process.stdin, flush=True)
            line = process.stdout.readline()
            if not line:
                raise UserError(f"{path}: note_seq failed on it, or {python} has no note_seq")
            yield path, np.array(json.loads(line), np.int32)
        process.stdin.close()


def _first_difference(ours: np.ndarray, theirs: np.ndarray) -> str:
    """Where two sequences part, and how long they are."""
    length = min(len(ours), len(theirs))
    differing = np.flatnonzero(ours[:length] != theirs[:length])
    position = differing[0] if len(differing) else length
    return f"from token {position} of {len(ours)} and {len(theirs)}"


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
