"""What a trained model is asked to play, and the files that keep it and how it came about."""

import dataclasses
import functools
import json
import math
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

import midijax
from midijax import atomic, controls, generate, midi, mirror, plots, primer, remote
from midijax.checkpoint import Loaded
from midijax.controls import Wishes
from midijax.errors import UserError
from midijax.events import NOTE_ON, EventVocabulary
from midijax.generate import Length
from midijax.performance import Performance
from midijax.sampling import SamplingSettings


@dataclasses.dataclass(frozen=True)
class Request:
    """What to play; from the same checkpoint the same request gives the same music.

    Attributes:
      seed: what chance begins with.
      seconds, num_events: how much new music, whichever comes first; None: no such limit.
      settings: how events are chosen.
      wishes: what is asked of the music.
      primer: the MIDI file to go on from, or None.
      primer_seconds: how much of it is heard.
      include_primer: whether the files begin with it.

    Raises:
      UserError: no length, or one out of its range; wishes that change in a length without seconds.
    """

    seed: int
    seconds: float | None
    num_events: int | None
    settings: SamplingSettings
    wishes: Wishes
    primer: Path | None
    primer_seconds: float
    include_primer: bool

    def __post_init__(self) -> None:
        generate.require_seconds(self.wishes, self.length)

    @functools.cached_property
    def length(self) -> Length:
        """The length in the generator's terms."""
        seconds = math.inf if self.seconds is None else self.seconds
        if self.num_events is None:
            return Length(seconds)
        return Length(seconds, self.num_events)

    def primer_events(self, vocabulary: EventVocabulary) -> np.ndarray:
        """The events that are heard first, int32 (events,); none without a primer."""
        if self.primer is None:
            return np.empty(0, np.int32)
        return primer.encode(
            vocabulary, midi.read(mirror.fetched(self.primer)), self.primer_seconds
        )


def play(loaded: Loaded, request: Request, num_performances: int, folder: Path) -> None:
    """Plays, and writes a MIDI file, a piano roll and a JSON file of each performance.

    Of several processes each plays and writes its share.

    Raises UserError, before there is any of them, for a primer that cannot be used, a wish that the
    model does not know and a folder that cannot be written to.
    """
    vocabulary = loaded.config.vocabulary
    heard = request.primer_events(vocabulary)
    controls.schedule(loaded.config.controls, request.wishes)  # refuses what it does not know
    _make(folder)
    print(f"Playing with seed {request.seed} from {loaded.path}", flush=True)
    origin = _origin(loaded, request, heard)
    for index, tokens in _generate(loaded, request, num_performances, heard).items():
        performance = primer.join(vocabulary, heard, tokens, request.include_primer)
        facts = origin | {"index": index} | _counts(vocabulary, tokens)
        facts["complete"] = _is_complete(facts, request.length, vocabulary)
        _write(folder / f"seed{request.seed}-{index:03d}", performance, facts)


def _generate(
    loaded: Loaded, request: Request, num_performances: int, heard: np.ndarray
) -> dict[int, np.ndarray]:
    started = time.perf_counter()
    key = jax.random.key(request.seed)
    batch = generate.generate(
        loaded.params,
        key,
        loaded.config,
        request.length,
        request.settings,
        num_performances,
        heard,
        request.wishes,
    )
    took = time.perf_counter() - started
    num_events = sum(map(len, batch.values()))
    print(f"{num_events} events in {took:.1f} s, {num_events / took:.0f} a second")
    return batch


def _origin(loaded: Loaded, request: Request, heard: np.ndarray) -> dict[str, Any]:
    """How the performances of a request came about, for their JSON files."""
    played_before = None
    if request.primer:
        played_before = {
            "file": str(request.primer),
            "primer_seconds": request.primer_seconds,
            "included": request.include_primer,
            **_counts(loaded.config.vocabulary, heard),
        }
    return {
        "seed": request.seed,
        "length": {"seconds": request.seconds, "num_events": request.num_events},
        "settings": dataclasses.asdict(request.settings),
        "wishes": dataclasses.asdict(request.wishes),
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "primer": played_before,
        "versions": {"midijax": midijax.__version__, "jax": jax.__version__},
    }


def _counts(vocabulary: EventVocabulary, tokens: np.ndarray) -> dict[str, Any]:
    steps = int(vocabulary.steps(tokens)[-1:].sum())
    return {
        "events": len(tokens),
        "notes": int((vocabulary.kinds[tokens] == NOTE_ON).sum()),
        "seconds": steps / vocabulary.steps_per_second,
    }


def _is_complete(facts: dict[str, Any], length: Length, vocabulary: EventVocabulary) -> bool:
    """Whether the asked-for time or number of events was reached, not the generator's bound."""
    steps = round(facts["seconds"] * vocabulary.steps_per_second)
    return length.num_events <= length.max_events or steps >= length.max_steps(vocabulary)


def _write(stem: Path, performance: Performance, facts: dict[str, Any]) -> None:
    """Writes STEM.mid, STEM.png and STEM.json and says so."""
    midi.write(performance, stem.with_suffix(".mid"))
    title = f"{stem.name}: step {facts['step']}, temperature {facts['settings']['temperature']:g}"
    plots.piano_roll(performance, stem.with_suffix(".png"), title)
    atomic.write_text(stem.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    print(f"{stem}.mid, .png, .json: {facts['notes']} notes in {facts['seconds']:g} s")
    if not facts["notes"]:
        print("  It is silent: train longer, or raise --temperature.")
    if not facts["complete"]:
        limit = generate.MAX_EVENTS_PER_SECOND
        print(f"  It ends early: it would have had more than {limit} events a second.")


def _make(folder: Path) -> None:
    if remote.is_remote(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --output_dir={folder}: {error.strerror}") from None
