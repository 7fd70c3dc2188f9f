"""Performances as sequences of events: the vocabulary of Oore et al. (2018).

A performance is told as note-ons, note-offs, time-shifts and velocities. The order of events and
every rounding follow note_seq's `Performance`, on whose tokens the published scores rest.
"""

import dataclasses
import functools

import numpy as np

from midijax.errors import require
from midijax.performance import NOTE_DTYPE, NUM_PITCHES, Performance

MAX_VELOCITY = 127
MAX_RESOLUTION = 10_000  # steps a second, and steps of the longest time-shift
DEFAULT_VELOCITY = 64  # of notes in a vocabulary without velocities

# Kinds of event, in the order of their ids.
NOTE_ON, NOTE_OFF, TIME_SHIFT, VELOCITY = range(4)
PAD = -1  # no event: fills rows of events where there are none
KIND_NAMES = ("note_on", "note_off", "time_shift", "velocity")


@dataclasses.dataclass(frozen=True)
class EventVocabulary:
    """Event ids: 128 note-ons, 128 note-offs, then time-shifts, then velocities.

    Attributes:
      steps_per_second: time is counted in steps of 1 / steps_per_second seconds.
      max_shift_steps: the longest time-shift, and so the number of time-shift events.
      num_velocity_bins: the number of velocity events; 0 leaves velocities out.

    Raises:
      UserError: a value out of its range.
    """

    steps_per_second: int
    max_shift_steps: int
    num_velocity_bins: int

    def __post_init__(self) -> None:
        rate, longest, bins = dataclasses.astuple(self)
        for name, value in (("steps_per_second", rate), ("max_shift_steps", longest)):
            allowed = f"from 1 to {MAX_RESOLUTION}"
            require(1 <= value <= MAX_RESOLUTION, f"vocabulary.{name}", value, allowed)
        in_range = 0 <= bins <= MAX_VELOCITY
        require(in_range, "vocabulary.num_velocity_bins", bins, f"from 0 to {MAX_VELOCITY}")

    @property
    def size(self) -> int:
        """The number of events."""
        return self.velocity_base + self.num_velocity_bins

    @property
    def shift_base(self) -> int:
        """The id of the time-shift by one step."""
        return 2 * NUM_PITCHES

    @property
    def velocity_base(self) -> int:
        """The id of the softest velocity."""
        return self.shift_base + self.max_shift_steps

    @property
    def velocity_bin_size(self) -> int:
        """How many MIDI velocities share an event."""
        return -(-MAX_VELOCITY // max(1, self.num_velocity_bins))

    @functools.cached_property
    def kinds(self) -> np.ndarray:
        """The kind of each event, int32 (size,)."""
        counts = (NUM_PITCHES, NUM_PITCHES, self.max_shift_steps, self.num_velocity_bins)
        return np.repeat(np.arange(4, dtype=np.int32), counts)

    @functools.cached_property
    def values(self) -> np.ndarray:
        """What each event says, int32 (size,): a pitch, a number of steps (from 1), or a bin."""
        ids = np.arange(self.size, dtype=np.int32)
        bases = np.array([0, NUM_PITCHES, self.shift_base - 1, self.velocity_base], np.int32)
        return ids - bases[self.kinds]

    def velocity_to_bin(self, velocity: np.ndarray) -> np.ndarray:
        """MIDI velocities 1..127 to bins from 0."""
        return (np.asarray(velocity, np.int32) - 1) // self.velocity_bin_size

    def bin_to_velocity(self, velocity_bin: np.ndarray) -> np.ndarray:
        """Bins from 0 to the MIDI velocity in the middle of each."""
        middle = np.asarray(velocity_bin, np.int32) * self.velocity_bin_size
        return np.minimum(middle + 1 + (self.velocity_bin_size - 1) // 2, MAX_VELOCITY)

    def seconds_to_steps(self, seconds: np.ndarray) -> np.ndarray:
        """The nearest step from the start of the file, halves upwards; so errors never add up."""
        return np.floor(np.asarray(seconds) * self.steps_per_second + 0.5).astype(np.int64)

    def steps(self, tokens: np.ndarray) -> np.ndarray:
        """The time of each event in steps, its own time-shift included, int64 (events,)."""
        shifts = np.where(self.kinds[tokens] == TIME_SHIFT, self.values[tokens], 0)
        return np.cumsum(shifts, dtype=np.int64)

    def quantize(self, performance: Performance) -> tuple[np.ndarray, np.ndarray]:
        """Onset and offset steps of each note, whatever the pedal; a note lasts a step or more."""
        onset = self.seconds_to_steps(performance.notes["onset"])
        offset = self.seconds_to_steps(performance.notes["offset"])
        return onset, np.maximum(offset, onset + 1)

    def encode(self, performance: Performance) -> np.ndarray:
        """The events of a performance, int32 (events,); the pedal is folded into the note-offs."""
        performance = performance.apply_sustain()
        notes = performance.notes
        onset, offset = self.quantize(performance)
        # Within a step events go by note: an earlier note's end precedes a later note's start.
        steps = np.stack((onset, offset), axis=1).ravel()
        order = np.argsort(steps, kind="stable")
        note, is_off = np.divmod(order, 2)
        is_on = is_off == 0
        note_events = notes["pitch"][note] + NUM_PITCHES * is_off
        gaps = np.diff(steps[order], prepend=0)
        num_shifts = -(-gaps // self.max_shift_steps)
        velocity_events, num_velocities = self._velocity_events(notes["velocity"][note], is_on)

        ends = np.cumsum(num_shifts + num_velocities + 1)
        tokens = np.full(ends[-1] if len(notes) else 0, self.velocity_base - 1, np.int32)
        tokens[ends - 1] = note_events
        tokens[ends[num_velocities > 0] - 2] = velocity_events
        last_shift = (ends - 2 - num_velocities)[num_shifts > 0]
        remainder = gaps - (num_shifts - 1) * self.max_shift_steps
        tokens[last_shift] = self.shift_base - 1 + remainder[num_shifts > 0]
        return tokens

    def decode(self, tokens: np.ndarray) -> Performance:
        """The performance that a sequence of events tells; any 64-bit integers will do.

        Ids that are no event's are passed over. Notes have the velocity in the middle of their bin
        and last a step or more. A note-off ends the note of its pitch that has sounded longest and
        is passed over if there is none; a note that never ends stops with the last event.

        Args:
          tokens: event ids, (events,).
        """
        tokens = np.asarray(tokens, np.int64).reshape(-1)
        tokens = tokens[(tokens >= 0) & (tokens < self.size)]
        kinds, values = self.kinds[tokens], self.values[tokens]
        steps = self.steps(tokens)
        is_on = kinds == NOTE_ON
        notes = np.empty(int(is_on.sum()), NOTE_DTYPE)
        offsets = np.maximum(steps[self._releases(kinds, values)], steps[is_on] + 1)
        notes["onset"] = steps[is_on] / self.steps_per_second
        notes["offset"] = offsets / self.steps_per_second
        notes["pitch"] = values[is_on]
        notes["velocity"] = self._velocities(kinds, values)[is_on]
        return Performance(notes)

    def _velocity_events(
        self, velocity: np.ndarray, is_on: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Velocity events where the bin changes, and how many (0 or 1) precede each note event."""
        counts = np.zeros(len(is_on), np.int64)
        if not self.num_velocity_bins:
            return np.empty(0, np.int32), counts
        bins = self.velocity_to_bin(velocity[is_on])
        changes = np.diff(bins, prepend=-1) != 0
        counts[np.flatnonzero(is_on)[changes]] = 1
        return self.velocity_base + bins[changes], counts

    def _velocities(self, kinds: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The velocity in force at each event."""
        latest = np.maximum.accumulate(np.where(kinds == VELOCITY, np.arange(len(kinds)), -1))
        if not self.num_velocity_bins:
            return np.full(len(kinds), DEFAULT_VELOCITY)
        return np.where(latest < 0, DEFAULT_VELOCITY, self.bin_to_velocity(values[latest]))

    def _releases(self, kinds: np.ndarray, values: np.ndarray) -> np.ndarray:
        """The position of the event that ends each note-on, in the order of the note-ons."""
        last = len(kinds) - 1
        key_events = np.flatnonzero(kinds <= NOTE_OFF)
        by_pitch = key_events[np.argsort(values[key_events], kind="stable")]
        pitch, is_on = values[by_pitch].astype(np.int64), kinds[by_pitch] == NOTE_ON
        first = np.searchsorted(pitch, pitch)
        ons, offs = (np.cumsum(x) - (np.cumsum(x) - x)[first] for x in (is_on, ~is_on))
        apart = pitch * (len(pitch) + 1)  # keeps what runs over all events from mixing pitches
        orphans = np.maximum.accumulate(apart + np.maximum(offs - ons, 0)) - apart
        ended = apart + offs - orphans
        following = np.searchsorted(ended, (apart + ons)[is_on])  # the k-th end is the k-th on's
        ends = np.append(by_pitch, last)[following]
        ends = np.where(values[ends] == pitch[is_on], ends, last)
        return ends[np.argsort(by_pitch[is_on])]


OORE_2018 = EventVocabulary(steps_per_second=125, max_shift_steps=125, num_velocity_bins=32)
PERFORMANCE_RNN = EventVocabulary(steps_per_second=100, max_shift_steps=100, num_velocity_bins=32)
NOTEBOOK = EventVocabulary(steps_per_second=125, max_shift_steps=125, num_velocity_bins=0)
