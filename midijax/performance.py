"""A piano performance in seconds: its notes, its sustain pedal, and what can be done to it."""

import dataclasses
import functools

import numpy as np

NOTE_DTYPE = np.dtype(
    [("onset", np.float64), ("offset", np.float64), ("pitch", np.uint8), ("velocity", np.uint8)]
)
PEDAL_DTYPE = np.dtype([("time", np.float64), ("value", np.uint8)])

NUM_PITCHES = 128
PEDAL_DOWN = 64  # CC64 values from here on hold the dampers up


@dataclasses.dataclass(frozen=True, eq=False)
class Performance:
    """What a pianist played, in seconds from the start of the recording.

    Attributes:
      notes: structured array (NOTE_DTYPE), one row per note: `onset` and `offset` in seconds (key
        down, key up), `pitch` 0..127, `velocity` 1..127; sorted by onset, then pitch.
      pedal: structured array (PEDAL_DTYPE), one row per change of the sustain pedal (CC64): `time`
        in seconds, `value` 0..127; sorted by time.
    """

    notes: np.ndarray
    pedal: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, PEDAL_DTYPE))

    def __post_init__(self) -> None:
        by_onset = np.lexsort((self.notes["pitch"], self.notes["onset"]))
        by_time = np.argsort(self.pedal["time"], kind="stable")
        object.__setattr__(self, "notes", self.notes[by_onset])
        object.__setattr__(self, "pedal", self.pedal[by_time])

    @property
    def duration(self) -> float:
        """Seconds from the recording's start to the last release or pedal message."""
        last_pedal = self.pedal["time"].max(initial=0.0)
        return float(self.notes["offset"].max(initial=last_pedal))

    def apply_sustain(self) -> "Performance":
        """Folds the pedal into the offsets, as the published scores do; the result has no pedal.

        The rules are those of note_seq's `apply_sustain_control_changes`. With the pedal down a
        released note sounds on until the pedal comes up, or until its key is struck again; a note
        that a re-strike would leave with no length at all is dropped; what still sounds at the end
        stops at `duration`. At equal times the order is pedal down, pedal up, note on, note off.
        """
        if not len(self.pedal):
            return self
        offsets = np.minimum(self._damped_at(), self._struck_again_at())
        notes = self.notes.copy()
        notes["offset"] = offsets
        cut_to_nothing = (offsets == notes["onset"]) & (self.notes["offset"] > notes["onset"])
        return Performance(notes[~cut_to_nothing])

    def transpose(self, semitones: int) -> "Performance":
        """Moves every note; raises ValueError where one would leave 0..127."""
        lowest, highest = self.transposition_range()
        if not lowest <= semitones <= highest:
            raise ValueError(f"transposition {semitones} is outside {lowest}..{highest}")
        notes = self.notes.copy()
        notes["pitch"] = (notes["pitch"].astype(np.int16) + semitones).astype(np.uint8)
        return dataclasses.replace(self, notes=notes)

    def transposition_range(self) -> tuple[int, int]:
        """The lowest and highest transposition, in semitones, that keeps every pitch in 0..127."""
        if not len(self.notes):
            return 0, 0
        pitches = self.notes["pitch"]
        return -int(pitches.min()), NUM_PITCHES - 1 - int(pitches.max())

    def stretch(self, factor: float) -> "Performance":
        """Multiplies every time by `factor`: above 1 slower, below 1 faster."""
        notes, pedal = self.notes.copy(), self.pedal.copy()
        notes["onset"] *= factor
        notes["offset"] *= factor
        pedal["time"] *= factor
        return Performance(notes, pedal)

    @functools.cached_property
    def _pedal_changes(self) -> tuple[np.ndarray, np.ndarray]:
        """Times of the pedal messages and whether each puts it down; at one time, downs first."""
        down = self.pedal["value"] >= PEDAL_DOWN
        order = np.lexsort((~down, self.pedal["time"]))
        return self.pedal["time"][order], down[order]

    def _pedal_is_down_at(self, times: np.ndarray) -> np.ndarray:
        changes, down = self._pedal_changes
        return np.concatenate(([False], down))[np.searchsorted(changes, times, side="right")]

    def _damped_at(self) -> np.ndarray:
        """When each note ends unless it is struck again: on release, or when the pedal lifts."""
        changes, down = self._pedal_changes
        released = self.notes["offset"]
        lifts = np.append(changes[~down], self.duration)
        next_lift = lifts[np.searchsorted(lifts[:-1], released, side="right")]
        return np.where(self._pedal_is_down_at(released), next_lift, released)

    def _struck_again_at(self) -> np.ndarray:
        """The next onset of each note's pitch at which the pedal is down; infinity if none."""
        onset, pitch = self.notes["onset"], self.notes["pitch"]
        by_pitch = np.lexsort((onset, pitch))
        is_cutting = self._pedal_is_down_at(onset[by_pitch])
        following = np.append(np.flatnonzero(is_cutting), len(onset))[np.cumsum(is_cutting)]
        candidate = by_pitch[np.minimum(following, len(onset) - 1)]
        found = (following < len(onset)) & (pitch[candidate] == pitch[by_pitch])
        struck = np.empty(len(onset))
        struck[by_pitch] = np.where(found, onset[candidate], np.inf)
        return struck
