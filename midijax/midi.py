"""MIDI files to performances in seconds, and back.

Reading is tolerant: what a broken file holds before it breaks is kept, and what is not needed is
passed over. Seconds are computed in float64 with pretty_midi's arithmetic, so that they fall on the
same side of half a step.
"""

import collections
import dataclasses
import os
from collections.abc import Iterable
from pathlib import Path

import mido
import numpy as np

from midijax import _smf, atomic
from midijax._smf import MidiError
from midijax.performance import NOTE_DTYPE, NUM_PITCHES, PEDAL_DTYPE, Performance

__all__ = ["FileFacts", "MidiError", "inspect_bytes", "read", "read_bytes", "write"]

MAX_BYTES = 16 * 2**20
MAX_NOTES = 250_000  # ten times MAESTRO's largest file
MAX_SECONDS = 6 * 3600.0

NOTE_OFF, NOTE_ON, CONTROL_CHANGE = 0x80, 0x90, 0xB0
PERCUSSION_CHANNEL = 9
SUSTAIN_PEDAL = 64
DEFAULT_TEMPO = 500_000  # microseconds per quarter note

WRITTEN_TICKS_PER_BEAT = 500  # at the default tempo a tick is a millisecond: 8 and 10 ms are exact
WRITTEN_TICKS_PER_SECOND = 1000


@dataclasses.dataclass(frozen=True)
class FileFacts:
    """What a MIDI file is made of.

    Attributes:
      format: 0 (one track), 1 (tracks in parallel) or 2 (tracks one after the other).
      num_tracks: how many tracks there are, whatever the header says.
      ticks_per_beat: the resolution, or None where it is `ticks_per_second` (SMPTE division).
      ticks_per_second: the resolution under SMPTE division, else None.
      message_counts: how many messages there are of each type, by mido's names.
      repairs: what is wrong with the file and was put right; empty for a well-formed one.
    """

    format: int
    num_tracks: int
    ticks_per_beat: int | None
    ticks_per_second: float | None
    message_counts: dict[str, int]
    repairs: tuple[str, ...]


def read(path: str | os.PathLike[str]) -> Performance:
    """Reads a MIDI file of format 0, 1 or 2.

    All tracks and channels but percussion (channel 10) make one performance; the tracks of a
    format 2 file follow one another. A release ends every sounding note of its pitch on its track
    and channel; a note that is never released ends with its track.

    Raises:
      MidiError: not a MIDI file, unreadable, without notes, or beyond `MAX_BYTES`, `MAX_NOTES` or
        `MAX_SECONDS`.
    """
    return read_bytes(_load(path), str(path))


def read_bytes(data: bytes, name: str) -> Performance:
    """As `read`, of a file's content; `name` is what errors call it."""
    midi_file = _parse(data, name)
    notes, pedal = [], []
    for track, seconds in _timed_tracks(midi_file):
        notes.append(_notes(track, seconds))
        pedal.append(_pedal(track, seconds))
    performance = Performance(
        np.concatenate([np.empty(0, NOTE_DTYPE), *notes]),
        np.concatenate([np.empty(0, PEDAL_DTYPE), *pedal]),
    )
    num_notes = len(performance.notes)
    if not num_notes:
        raise MidiError(name, "no notes in it (percussion is left out)")
    if num_notes > MAX_NOTES:
        raise MidiError(name, f"too many notes ({num_notes}, at most {MAX_NOTES}); split it")
    if performance.duration > MAX_SECONDS:
        hours = f"{performance.duration / 3600:.1f} hours, at most {MAX_SECONDS / 3600:.0f}"
        raise MidiError(name, f"too long ({hours}); cut it, or mend its tempo")
    return performance


def inspect_bytes(data: bytes, name: str) -> FileFacts:
    """What a MIDI file is made of, from its content, be there notes in it or not.

    Raises:
      MidiError: not a MIDI file, or beyond `MAX_BYTES`; it is called `name` there.
    """
    midi_file = _parse(data, name)
    counts: collections.Counter[str] = collections.Counter()
    for track in midi_file.tracks:
        counts.update(track.counts)
    repairs = [
        *midi_file.repairs,
        *(repair for track in midi_file.tracks for repair in track.repairs),
    ]
    return FileFacts(
        midi_file.format,
        len(midi_file.tracks),
        midi_file.ticks_per_beat,
        midi_file.ticks_per_second,
        dict(counts.most_common()),
        tuple(dict.fromkeys(repairs)),
    )


def write(performance: Performance, path: str | os.PathLike[str]) -> None:
    """Writes a format 0 file: one piano, a tick per millisecond, complete or not at all.

    Folders on the way to `path` are made.
    Every note lasts a tick or more. Of overlapping notes of one pitch the first release ends all,
    for MIDI cannot tell them apart.

    Raises:
      UserError: the file cannot be written.
    """
    track = mido.MidiTrack()
    track.append(mido.MetaMessage("track_name", name="Piano"))
    track.append(mido.MetaMessage("set_tempo", tempo=DEFAULT_TEMPO))
    track.append(mido.Message("program_change", program=0))
    now = 0
    for tick, message in _timed_messages(performance):
        message.time = tick - now
        track.append(message)
        now = tick
    midi_file = mido.MidiFile(type=0, ticks_per_beat=WRITTEN_TICKS_PER_BEAT, tracks=[track])
    with atomic.new_file(path) as partial:
        midi_file.save(partial)


def _load(path: str | os.PathLike[str]) -> bytes:
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            kind = "a folder" if path.is_dir() else "no regular file"
            raise MidiError(path, f"this is {kind}, not a MIDI file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise MidiError(path, f"cannot be read ({error.strerror})") from error


def _parse(data: bytes, name: str) -> _smf.MidiFile:
    if len(data) > MAX_BYTES:
        raise MidiError(name, f"too large (over {MAX_BYTES // 2**20} MiB); split it")
    return _smf.parse(data, name)


class _TempoMap:
    """Ticks to seconds: segments of constant tempo."""

    def __init__(self, midi_file: _smf.MidiFile, tempos: list[np.ndarray], start: float) -> None:
        if midi_file.ticks_per_second is not None:
            changes, scales = np.zeros(1, np.int64), np.array([1.0 / midi_file.ticks_per_second])
        else:
            in_file_order = np.concatenate([[(0, DEFAULT_TEMPO)], *tempos])
            by_tick = np.argsort(in_file_order[:, 0], kind="stable")
            changes, tempo = in_file_order[by_tick].T
            scales = 60.0 / ((6e7 / tempo) * midi_file.ticks_per_beat)
        differs = np.diff(scales, prepend=-1.0) != 0
        self._changes, self._scales = changes[differs], scales[differs]
        lengths = self._scales[:-1] * np.diff(self._changes)
        self._seconds = np.cumsum(np.concatenate(([start], lengths)))

    def __call__(self, ticks: np.ndarray) -> np.ndarray:
        segment = np.searchsorted(self._changes, ticks, side="right") - 1
        into_segment = self._scales[segment] * (ticks - self._changes[segment])
        return self._seconds[segment] + into_segment


def _timed_tracks(midi_file: _smf.MidiFile) -> Iterable[tuple[_smf.Track, _TempoMap]]:
    """Each track with the tempo map that it runs on."""
    if midi_file.format < 2:
        all_tempos = [track.tempos for track in midi_file.tracks]
        shared_map = _TempoMap(midi_file, all_tempos, start=0.0)
        yield from ((track, shared_map) for track in midi_file.tracks)
        return
    start = 0.0
    for track in midi_file.tracks:
        tempo_map = _TempoMap(midi_file, [track.tempos], start)
        yield track, tempo_map
        start = float(tempo_map(np.array(track.end)))


def _notes(track: _smf.Track, seconds: _TempoMap) -> np.ndarray:
    """The notes of a track (NOTE_DTYPE): each note-on with the next release of its key."""
    kind, channel = track.status & 0xF0, track.status & 0x0F
    is_key = ((kind == NOTE_ON) | (kind == NOTE_OFF)) & (channel != PERCUSSION_CHANNEL)
    key = channel.astype(np.int64) * NUM_PITCHES + track.data[:, 0]
    by_key = np.flatnonzero(is_key)
    by_key = by_key[np.argsort(key[by_key], kind="stable")]
    is_on = (kind[by_key] == NOTE_ON) & (track.data[by_key, 1] > 0)
    ons, offs = by_key[is_on], by_key[~is_on]
    ticks = np.append(track.ticks, track.end)
    keys = np.append(key, -1)
    releases_before = np.cumsum(~is_on)[is_on]
    release = np.append(offs, len(key))[releases_before]
    release = np.where(keys[release] == keys[ons], release, len(key))
    notes = np.empty(len(ons), NOTE_DTYPE)
    notes["onset"] = seconds(ticks[ons])
    notes["offset"] = seconds(ticks[release])
    notes["pitch"], notes["velocity"] = track.data[ons].T
    return notes


def _pedal(track: _smf.Track, seconds: _TempoMap) -> np.ndarray:
    """The sustain pedal of a track (PEDAL_DTYPE), its channels merged."""
    kind, channel = track.status & 0xF0, track.status & 0x0F
    is_pedal = (kind == CONTROL_CHANGE) & (track.data[:, 0] == SUSTAIN_PEDAL)
    is_pedal &= channel != PERCUSSION_CHANNEL
    pedal = np.empty(int(is_pedal.sum()), PEDAL_DTYPE)
    pedal["time"] = seconds(track.ticks[is_pedal])
    pedal["value"] = track.data[is_pedal, 1]
    return pedal


def _timed_messages(performance: Performance) -> list[tuple[int, mido.Message]]:
    """Ticks and messages in the order to write: at one tick note-offs, pedal, then note-ons."""
    notes, pedal = performance.notes, performance.pedal
    onset, offset, pedal_tick = (
        np.rint(seconds * WRITTEN_TICKS_PER_SECOND).astype(np.int64)
        for seconds in (notes["onset"], notes["offset"], pedal["time"])
    )
    offset = np.maximum(offset, onset + 1)
    pitches, velocities = notes["pitch"].tolist(), notes["velocity"].tolist()
    note_offs = [mido.Message("note_off", note=pitch) for pitch in pitches]
    controls = [
        mido.Message("control_change", control=SUSTAIN_PEDAL, value=value)
        for value in pedal["value"].tolist()
    ]
    note_ons = [
        mido.Message("note_on", note=pitch, velocity=velocity)
        for pitch, velocity in zip(pitches, velocities, strict=True)
    ]
    ticks = np.concatenate((offset, pedal_tick, onset))
    messages = note_offs + controls + note_ons
    return [(int(ticks[i]), messages[i]) for i in np.argsort(ticks, kind="stable")]
