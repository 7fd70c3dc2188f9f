"""What came of the inputs of one campaign."""

import collections
import dataclasses
import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from fuzzing import limits, soundness
from midijax import midi
from midijax.performance import Performance

CARRIED_ON = 100  # one input in so many


@dataclasses.dataclass
class Account:
    """What came of the inputs of one campaign.

    Attributes:
      name: of the campaign.
      folder: where inputs that fail are kept.
      accepted: how many were read or decoded.
      refused: how many were not, by the reason, numbers left out.
      failures: how many ended as none may, by what happened.
      carried_on: how many performances went through all that can be done with one.
      slowest: processor seconds of the slowest input.
      megabytes: the peak memory of the process.
      seconds: how long it all took.
      notes: what else there is to say.
    """

    name: str
    folder: Path
    accepted: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    carried_on: int = 0
    slowest: float = 0.0
    megabytes: float = dataclasses.field(default_factory=limits.peak_megabytes)
    seconds: float = 0.0
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.accepted + self.refused.total() + self.failures.total()

    def take(
        self,
        content: bytes,
        function: Callable[[], Performance],
        check: Callable[[Performance], list[str]],
    ) -> None:
        """Calls a function on an input: it may give a performance or raise `MidiError`.

        Args:
          content: the input, to be kept should it fail.
          function: reads or decodes it.
          check: what is wrong with the performance.
        """
        fault, performance, started = "", None, time.process_time()
        try:
            with limits.deadline():
                performance = function()
        except midi.MidiError as error:
            refusal = re.sub(r"\d[\d.]*", "N", error.reason)
        except Exception as error:
            fault = _told(error)
        self.slowest = max(self.slowest, time.process_time() - started)
        before, self.megabytes = self.megabytes, limits.peak_megabytes()
        if self.megabytes - before > limits.MAX_MEGABYTES:
            fault = f"over {limits.MAX_MEGABYTES:.0f} MB"
        elif performance is not None:
            fault = self._examine(performance, check)
        if fault:
            self._keep(fault, content)
        elif performance is None:
            self.refused[refusal] += 1
        else:
            self.accepted += 1

    def _examine(self, performance: Performance, check: Callable[[Performance], list[str]]) -> str:
        try:
            found = check(performance)
            if not found and len(performance.notes) and self.inputs % CARRIED_ON == 0:
                self.carried_on += 1
                found = soundness.carry_on(performance)
        except Exception as error:
            return _told(error)
        return ", ".join(found)

    def _keep(self, fault: str, content: bytes) -> None:
        self.failures[fault] += 1
        if self.failures[fault] == 1:
            path = self.folder / f"{self.name}-{len(self.failures):03d}"
            path.with_suffix(".input").write_bytes(content)
            path.with_suffix(".txt").write_text(fault + "\n")

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.inputs:,} inputs in {self.seconds:,.0f} s; {self.accepted:,} "
            f"accepted ({self.carried_on:,} of them carried on), {self.refused.total():,} refused, "
            f"{self.failures.total():,} failed",
            f"  slowest {self.slowest:.3f} s, peak memory {self.megabytes:.0f} MB",
            *(f"  {note}" for note in self.notes),
            *(f"  refused {count:>9,}  {reason}" for reason, count in self.refused.most_common()),
            *(f"  FAILED {count:>10,}  {fault}" for fault, count in self.failures.most_common()),
        ]
        return "\n".join(lines)


def _told(error: Exception) -> str:
    """What happened and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, {place.name})"
