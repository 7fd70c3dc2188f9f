"""Proves that generated MIDI files are well formed, by two readers that are not ours.

Every .mid file of a folder is read message by message with mido and note by note with symusic
(a test dependency), and the faults are counted that a hanging or a missing note would come from:

    python -m midijax.sample --num_performances=64 --output_dir=generated
    python experiments/checks/verify_generated.py --input=generated

symusic shows whole notes only, so it can have no say about note-offs without a note. The exit code
is 1 if there is any fault.
"""

import collections
import itertools
from pathlib import Path
from typing import Any

import mido
import symusic
from absl import flags

from midijax import cli, sources
from midijax.errors import UserError

ORPHAN, OVERLAP, STUCK, EMPTY, LONG = FAULTS = (
    "note-offs without a note",
    "notes of a pitch that sounds already",
    "notes never released",
    "notes of no length",
    "notes too long",
)
ROUNDING = 1e-3  # seconds, a tick of the files

FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_string("input", None, "Folder of MIDI files, or one file.", flag_values=FLAGS)
_MAX_NOTE_SECONDS = flags.DEFINE_float(
    "max_note_seconds", 10.0, "A note longer than this is a fault.", flag_values=FLAGS
)


def main(arguments: list[str]) -> int:
    """Prints a table of the faults, and a line for each file that has any."""
    cli.reject(arguments, FLAGS)
    if not _INPUT.value:
        raise UserError("--input is needed: a folder of MIDI files")
    paths = sources.midi_files(cli.path(_INPUT.value))
    totals = {reader: collections.Counter[str]() for reader in READERS}
    for path in paths:
        for reader, faults in check(path, _MAX_NOTE_SECONDS.value).items():
            totals[reader] += faults
            if faults:
                print(f"{path}, {reader}: {dict(faults)}")
    print(f"| {len(paths):,} files | {' | '.join(totals)} |\n|---|{'--:|' * len(totals)}")
    for fault in FAULTS:
        print(f"| {fault} | {' | '.join(f'{total[fault]:,}' for total in totals.values())} |")
    return int(any(total.total() for total in totals.values()))


def check(path: Path, max_note_seconds: float) -> dict[str, collections.Counter[str]]:
    """The faults (of FAULTS) that each of READERS finds in a file; empty counters if none."""
    return {name: +reader(path, max_note_seconds) for name, reader in READERS.items()}


def _check_messages(path: Path, max_note_seconds: float) -> collections.Counter[str]:
    faults: collections.Counter[str] = collections.Counter()
    onsets: dict[tuple[int, int], float] = {}  # of what sounds, by channel and pitch
    seconds = 0.0
    for message in mido.MidiFile(path):
        seconds += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = message.channel, message.note
        if message.type == "note_on" and message.velocity:
            faults[OVERLAP] += key in onsets
            onsets[key] = seconds
        elif key in onsets:
            length = seconds - onsets.pop(key)
            faults[EMPTY] += length == 0
            faults[LONG] += length > max_note_seconds + ROUNDING
        else:
            faults[ORPHAN] += 1
    faults[STUCK] += len(onsets)
    return faults


def _check_notes(path: Path, max_note_seconds: float) -> collections.Counter[str]:
    faults: collections.Counter[str] = collections.Counter()
    score: Any = symusic.Score(path)
    for track in score.tracks:
        notes = sorted(track.notes, key=lambda note: (note.pitch, note.time))
        for note, following in itertools.pairwise(notes):
            faults[OVERLAP] += note.pitch == following.pitch and note.end > following.time
        faults[EMPTY] += sum(note.duration <= 0 for note in notes)
    in_seconds = [note.duration for track in score.to("second").tracks for note in track.notes]
    faults[LONG] += sum(length > max_note_seconds + ROUNDING for length in in_seconds)
    return faults


READERS = {"mido": _check_messages, "symusic": _check_notes}


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
