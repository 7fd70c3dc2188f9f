"""What MIDI files hold, in figures: measured file by file and added up over many."""

import collections
import dataclasses
from typing import Any

import numpy as np

from midijax import corpus, midi
from midijax.errors import UserError
from midijax.midi import FileFacts
from midijax.performance import NUM_PITCHES, PEDAL_DOWN, Performance
from midijax.sources import Source

LONGEST_MILLISECONDS = 10_000  # times beyond it are counted as this long
NUM_LOGARITHMIC_BINS = 40
SHORTEST_MILLISECONDS = 10
QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
RANGE = {"lowest": 0.0, "median": 0.5, "highest": 1.0}


@dataclasses.dataclass(frozen=True, eq=False)
class Measures:
    """Figures of one performance, or with `+` of several.

    Attributes:
      seconds: length, from the start of the recording.
      notes, pedal_messages: how many.
      pedal_down_seconds: how long the sustain pedal is down.
      sounding_seconds: the lengths of all notes together, the pedal folded in.
      max_polyphony: the most notes that sound at once, the pedal folded in.
      pitches, velocities: notes of each, int64 (128,).
      inter_onsets, durations: notes by milliseconds from one onset to the next and from key down to
        key up, int64 (LONGEST_MILLISECONDS + 1,).
    """

    seconds: float
    notes: int
    pedal_messages: int
    pedal_down_seconds: float
    sounding_seconds: float
    max_polyphony: int
    pitches: np.ndarray
    velocities: np.ndarray
    inter_onsets: np.ndarray
    durations: np.ndarray

    def __add__(self, other: "Measures") -> "Measures":
        names = [field.name for field in dataclasses.fields(self)]
        sums = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Measures(**sums | {"max_polyphony": max(self.max_polyphony, other.max_polyphony)})

    def summary(self) -> dict[str, Any]:
        """The figures as JSON holds them; seconds, ranges and quantiles."""
        return {
            "seconds": round(self.seconds, 3),
            "notes": self.notes,
            "notes_per_second": _ratio(self.notes, self.seconds),
            "pedal_messages": self.pedal_messages,
            "pedal_down_share": _ratio(self.pedal_down_seconds, self.seconds),
            "pitch": _range(self.pitches),
            "velocity": _range(self.velocities),
            "max_polyphony": self.max_polyphony,
            "mean_polyphony": _ratio(self.sounding_seconds, self.seconds),
            "inter_onset_seconds": _milliseconds(self.inter_onsets),
            "note_duration_seconds": _milliseconds(self.durations),
        }


@dataclasses.dataclass(frozen=True)
class Survey:
    """One file: its make-up, its music, and why `prepare` would leave it out.

    Attributes:
      name: the file.
      facts: its make-up, or None where it is no MIDI file (or never was a file).
      measures: its music, or None where it would be skipped.
      skipped: the reason, or empty.
      digest: of the notes and the pedal.
    """

    name: str
    facts: FileFacts | None = None
    measures: Measures | None = None
    skipped: str = ""
    digest: str = ""

    def as_json(self) -> dict[str, Any]:
        """What there is to say of the file."""
        described: dict[str, Any] = {"file": self.name}
        described |= {"skipped": self.skipped} if self.skipped else {}
        described |= dataclasses.asdict(self.facts) if self.facts else {}
        return described | (self.measures.summary() if self.measures else {})


def measure(performance: Performance) -> Measures:
    """The figures of one performance."""
    notes, pedal = performance.notes, performance.pedal
    sounding = performance.apply_sustain().notes
    pedal_spans = np.diff(pedal["time"], append=performance.duration)
    return Measures(
        seconds=performance.duration,
        notes=len(notes),
        pedal_messages=len(pedal),
        pedal_down_seconds=float(pedal_spans[pedal["value"] >= PEDAL_DOWN].sum()),
        sounding_seconds=float((sounding["offset"] - sounding["onset"]).sum()),
        max_polyphony=_max_polyphony(sounding),
        pitches=np.bincount(notes["pitch"], minlength=NUM_PITCHES),
        velocities=np.bincount(notes["velocity"], minlength=128),
        inter_onsets=_count_milliseconds(np.diff(notes["onset"])),
        durations=_count_milliseconds(notes["offset"] - notes["onset"]),
    )


def survey_performance(name: str, performance: Performance) -> Survey:
    """The survey of music that is in no file."""
    return Survey(name, measures=measure(performance), digest=corpus.digest(performance))


def survey_file(source: Source) -> Survey:
    """The survey of one MIDI file, be it readable or not."""
    facts = None
    try:
        data = source.read()
        facts = midi.inspect_bytes(data, source.name)
        performance = midi.read_bytes(data, source.name)
        return dataclasses.replace(survey_performance(source.name, performance), facts=facts)
    except UserError as error:
        reason = error.reason
    except Exception as error:  # a fault of ours must not cost the other files
        reason = f"unexpected {type(error).__name__}: {error}"
    return Survey(source.name, facts, skipped=reason)


class Catalogue:
    """Surveys added up one by one; of each only the summary is kept.

    Attributes:
      files: what there is to say of each file, as JSON holds it.
      measures: the music of all files that would not be skipped, or None.
      formats, resolutions, repairs: files by what their surveys say.
      message_counts: messages by type.
    """

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self.measures: Measures | None = None
        self.formats: collections.Counter[str] = collections.Counter()
        self.resolutions: collections.Counter[str] = collections.Counter()
        self.repairs: collections.Counter[str] = collections.Counter()
        self.message_counts: collections.Counter[str] = collections.Counter()
        self._first_with: dict[str, str] = {}

    def add(self, survey: Survey) -> None:
        """Adds a file; one with exactly the notes and pedal of an earlier one would be skipped."""
        first = self._first_with.setdefault(survey.digest or survey.name, survey.name)
        if first != survey.name:
            reason = f"the same notes and pedal as {first}"
            survey = dataclasses.replace(survey, measures=None, skipped=reason)
        self.files.append(survey.as_json())
        if survey.facts:
            self.formats[f"type {survey.facts.format}"] += 1
            self.resolutions[resolution(survey.facts)] += 1
            self.repairs.update(survey.facts.repairs)
            self.message_counts.update(survey.facts.message_counts)
        if survey.measures:
            self.measures = self.measures + survey.measures if self.measures else survey.measures

    @property
    def skipped(self) -> list[dict[str, Any]]:
        """The files that `prepare` would leave out."""
        return [file for file in self.files if "skipped" in file]

    def total(self) -> dict[str, Any]:
        """All files together."""
        return {
            "files": len(self.files),
            "skipped": len(self.skipped),
            "formats": dict(self.formats.most_common()),
            "resolutions": dict(self.resolutions.most_common()),
            "message_counts": dict(self.message_counts.most_common()),
            "repairs": dict(self.repairs.most_common()),
            **(self.measures.summary() if self.measures else {}),
        }


def resolution(facts: FileFacts) -> str:
    """How finely a file tells time, in words."""
    if facts.ticks_per_beat is not None:
        return f"{facts.ticks_per_beat} ticks per beat"
    return f"{facts.ticks_per_second:g} ticks per second (SMPTE)"


def logarithmic_bins(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts by millisecond to counts in bins that grow, and the bounds of the bins in seconds.

    They begin at SHORTEST_MILLISECONDS; below, bins would be finer than MIDI files tell time.
    """
    bounds = np.geomspace(SHORTEST_MILLISECONDS, len(counts), NUM_LOGARITHMIC_BINS + 1)
    edges = np.rint(bounds).astype(int)
    return np.add.reduceat(counts, edges[:-1]), (edges - 0.5) / 1000


def _max_polyphony(notes: np.ndarray) -> int:
    times = np.concatenate((notes["offset"], notes["onset"]))
    changes = np.repeat([-1, 1], len(notes))  # at one time, ends before beginnings
    return int(np.cumsum(changes[np.argsort(times, kind="stable")]).max(initial=0))


def _count_milliseconds(seconds: np.ndarray) -> np.ndarray:
    milliseconds = np.minimum(np.rint(seconds * 1000), LONGEST_MILLISECONDS).astype(np.int64)
    return np.bincount(milliseconds, minlength=LONGEST_MILLISECONDS + 1)


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _quantile(counts: np.ndarray, share: float) -> int:
    """The smallest value that at least this share of the counted do not exceed."""
    running = np.cumsum(counts)
    return int(np.searchsorted(running, max(share * running[-1], 1)))


def _range(counts: np.ndarray) -> dict[str, int]:
    if not counts.any():
        return {}
    return {name: _quantile(counts, share) for name, share in RANGE.items()}


def _milliseconds(counts: np.ndarray) -> dict[str, float]:
    if not counts.any():
        return {}
    return {name: _quantile(counts, share) / 1000 for name, share in QUANTILES.items()}
