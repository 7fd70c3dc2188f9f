"""Standard MIDI Files taken apart into columns, tolerant of the many ways they are broken."""

import array
import collections
import dataclasses

import numpy as np
from mido.messages.specs import SPEC_BY_STATUS
from mido.midifiles import meta

from midijax.errors import UserError

MAX_TRACKS = 1024
MAX_MESSAGES = 1_000_000  # in all tracks; eight times MAESTRO's largest file
MAX_PREAMBLE = 256  # bytes before the header, as RIFF and MacBinary put there

META, SYSEX, ESCAPE = 0xFF, 0xF0, 0xF7
END_OF_TRACK, SET_TEMPO = 0x2F, 0x51
FRAME_RATES = {24: 24.0, 25: 25.0, 29: 30000 / 1001, 30: 30.0}

_DATA_LENGTHS = {status: spec["length"] - 1 for status, spec in SPEC_BY_STATUS.items()}
_NUM_DATA_BYTES = np.array([_DATA_LENGTHS.get(status, 0) for status in range(256)])
_TYPE_NAMES = {status: spec["type"] for status, spec in SPEC_BY_STATUS.items()}
_META_NAMES = {
    spec.type_byte: name.removeprefix("MetaSpec_")
    for name, spec in vars(meta).items()
    if name.startswith("MetaSpec_")
}


class MidiError(UserError):
    """A MIDI file that cannot be read: what it is called, and the reason."""

    def __init__(self, name: object, reason: str) -> None:
        super().__init__(str(name), reason)  # both, so that it survives pickling

    def __str__(self) -> str:
        return "{}: {}".format(*self.args)

    @property
    def reason(self) -> str:
        """Why it cannot be read, without its name."""
        return self.args[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Track:
    """One track: its channel messages in the order of the file, one row each, and its tempos.

    Attributes:
      ticks: int64 (messages,), from the start of the track.
      status: uint8 (messages,), the kind of message in the high four bits, the channel in the low.
      data: uint8 (messages, 2), the data bytes, 0..127; 0 where a message has but one.
      tempos: int64 (changes, 2), tick and microseconds per quarter note of each change of tempo.
      end: the tick of the last event of any kind.
      counts: how many messages there are of each type, by mido's names.
      repairs: what was wrong with the track.
    """

    ticks: np.ndarray
    status: np.ndarray
    data: np.ndarray
    tempos: np.ndarray
    end: int
    counts: collections.Counter[str]
    repairs: list[str]


@dataclasses.dataclass(frozen=True, eq=False)
class MidiFile:
    """A file's header and tracks; either `ticks_per_beat` or, for SMPTE, `ticks_per_second`."""

    format: int
    ticks_per_beat: int | None
    ticks_per_second: float | None
    tracks: list[Track]
    repairs: list[str]


def parse(data: bytes, name: str) -> MidiFile:
    """Takes a file apart; `name` is what errors call it.

    A track that breaks off keeps what came before. Chunks are found even where their lengths or
    their number are wrong.

    Raises:
      MidiError: no MIDI header, an unusable one, or more in the file than the bounds allow.
    """
    start = data.find(b"MThd", 0, MAX_PREAMBLE)
    if start < 0:
        raise MidiError(name, f"not a MIDI file ({'no MThd header' if data else 'it is empty'})")
    header = data[start + 8 : start + 14]
    if len(header) < 6:
        raise MidiError(name, "the file ends within its header; fetch it again")
    midi_format, num_tracks, division = (int.from_bytes(header[i : i + 2]) for i in (0, 2, 4))
    repairs = [] if start == 0 else ["bytes before the header"]
    if midi_format > 2:
        repairs.append(f"unknown format {midi_format}")
        midi_format = 1
    tracks = _tracks(data, start, name, repairs)
    if len(tracks) != num_tracks:
        repairs.append("wrong number of tracks in the header")
    return MidiFile(midi_format, *_resolution(division, name), tracks, repairs)


def _resolution(division: int, name: str) -> tuple[int | None, float | None]:
    """Ticks per quarter note or, for SMPTE, per second."""
    if division < 0x8000:
        if not division:
            raise MidiError(name, "its header gives 0 ticks per quarter note, which tells no time")
        return division, None
    frames, ticks_per_frame = 256 - (division >> 8), division & 0xFF
    if frames not in FRAME_RATES or not ticks_per_frame:
        raise MidiError(name, f"unknown SMPTE division {frames} x {ticks_per_frame}")
    return None, FRAME_RATES[frames] * ticks_per_frame


def _tracks(data: bytes, header: int, name: str, repairs: list[str]) -> list[Track]:
    """Every track chunk after the header at the given position; adds to `repairs`."""
    tracks: list[Track] = []
    messages_left = MAX_MESSAGES
    position = _chunk_end(data, header)
    while position + 8 <= len(data):
        end = _chunk_end(data, position)
        if data[position : position + 4] == b"MTrk":
            tracks.append(_Walker(data[position + 8 : end], messages_left).track())
            messages_left -= tracks[-1].counts.total()
            if len(tracks) > MAX_TRACKS or messages_left <= 0:
                raise MidiError(
                    name, f"over {MAX_TRACKS} tracks or {MAX_MESSAGES} messages; split it"
                )
        elif "unknown chunk" not in repairs:
            repairs.append("unknown chunk")
        position = end
    return tracks


def _chunk_end(data: bytes, chunk: int) -> int:
    """Where a chunk ends: as its length says, or at the next track where that leads nowhere."""
    body = chunk + 8
    end = body + int.from_bytes(data[chunk + 4 : body])
    following = data[end : end + 4]
    if end == len(data) or (len(following) == 4 and following.isalpha()):
        return end
    next_track = data.find(b"MTrk", body)
    return len(data) if next_track < 0 else next_track


class _BrokenError(Exception):
    """What follows in a track cannot be made sense of."""


class _Walker:
    """Walks the messages of one track."""

    def __init__(self, data: bytes, max_messages: int) -> None:
        self._data = data
        self._max_messages = max_messages
        self._ticks = array.array("q")
        self._positions = array.array("q")  # of the data bytes
        self._end = 0
        self._tempos = array.array("q")  # tick, tempo, tick, tempo...
        self._counts: collections.Counter[str] = collections.Counter()
        self._repairs: list[str] = ["no end of track"]

    def track(self) -> Track:
        """The track, up to where it ends or breaks, or to one message over the maximum."""
        try:
            self._walk()
        except IndexError:
            self._repairs.append("truncated track")
        except _BrokenError as broken:
            self._repairs.append(str(broken))
        ticks = np.array(self._ticks, np.int64)
        status, data = self._messages()
        valid = data[:, 0] < 0x80
        if not valid.all() or (data > 0x7F).any():
            self._repairs.append("data bytes over 127")
        occurrences = np.bincount(status, minlength=256)
        for kind in np.flatnonzero(occurrences).tolist():
            self._counts[_TYPE_NAMES[kind]] += int(occurrences[kind])
        columns = ticks[valid], status[valid], np.minimum(data[valid], 0x7F)
        tempos = np.array(self._tempos, np.int64).reshape(-1, 2)
        return Track(*columns, tempos, self._end, self._counts, self._repairs)

    def _walk(self) -> None:
        """The loop over messages, kept lean: reading a file spends nearly all its time here."""
        data, size = self._data, len(self._data)
        add_tick, add_position = self._ticks.append, self._positions.append
        position = running_status = 0
        for _ in range(self._max_messages + 1):
            if position >= size:
                break
            delta = data[position]
            position += 1
            if delta > 0x7F:
                delta, position = self._variable_int(position - 1)
            self._end += delta
            status = data[position]
            if status > 0x7F:
                position += 1
            elif running_status:
                status = running_status
            else:
                position = self._next_status(position)
                status = data[position - 1]
            if status < SYSEX:
                running_status = status
                add_tick(self._end)
                add_position(position)
                position += _DATA_LENGTHS[status]
            else:
                position = self._system_message(status, position)
        if position > size:
            del self._ticks[-1], self._positions[-1]
            raise IndexError

    def _system_message(self, status: int, position: int) -> int:
        """Notes what matters in a meta, sysex or system message; returns where it ends."""
        kind = 0
        if status == META:
            kind = self._data[position]
            position += 1
            self._counts[_META_NAMES.get(kind, "unknown_meta")] += 1
        else:
            self._counts[_TYPE_NAMES.get(status, "sysex")] += 1
        if status in (META, SYSEX, ESCAPE):
            length, position = self._variable_int(position)
        elif status in _DATA_LENGTHS:
            length = _DATA_LENGTHS[status]
        else:
            raise _BrokenError("undefined status byte")
        if position + length > len(self._data):
            raise IndexError
        if kind == END_OF_TRACK:
            self._repairs.remove("no end of track")
            return len(self._data)
        if kind == SET_TEMPO:
            self._set_tempo(self._data[position : position + length])
        return position + length

    def _set_tempo(self, payload: bytes) -> None:
        tempo = int.from_bytes(payload)
        if len(payload) == 3 and tempo:
            self._tempos.extend((self._end, tempo))
        else:
            self._repairs.append("unusable tempo")

    def _variable_int(self, position: int) -> tuple[int, int]:
        """The variable-length number at a position, and the position after it."""
        value = 0
        for end in range(position + 1, position + 5):
            byte = self._data[end - 1]
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value, end
        raise _BrokenError("a number longer than four bytes")

    def _next_status(self, position: int) -> int:
        """Passes over stray data bytes; returns the position after the next status byte."""
        self._repairs.append("stray data bytes")
        while self._data[position] < 0x80:
            position += 1
        return position + 1

    def _messages(self) -> tuple[np.ndarray, np.ndarray]:
        """Status, uint8 (messages,), and data bytes, uint8 (messages, 2), of the channel messages.

        A message that has no status byte of its own before its data has that of the one before it.
        """
        padded = np.frombuffer(self._data + b"\0", np.uint8)
        positions = np.array(self._positions, np.int64)
        preceding = padded[positions - 1]
        index = np.arange(len(positions))
        status = preceding[np.maximum.accumulate(np.where(preceding > 0x7F, index, 0))]
        data = np.stack((padded[positions], padded[positions + 1]), axis=1)
        data[_NUM_DATA_BYTES[status] == 1, 1] = 0
        return status, data
