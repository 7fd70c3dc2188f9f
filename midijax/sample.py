"""Plays new music with a trained model.

For each performance this writes a MIDI file, a picture of it (a piano roll) and a JSON file that
says how it was made. The same seed gives the same music.

    python -m midijax.sample
    python -m midijax.sample --num_performances=8 --seconds=60 --seed=1 --temperature=0.95
    python -m midijax.sample --primer=my_playing.mid --primer_seconds=10
"""

import dataclasses
import json
import math
import secrets
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

import midijax
from midijax import atomic, checkpoint, cli, compilation, config, midi, plots, primer
from midijax.checkpoint import Loaded
from midijax.errors import UserError, require
from midijax.events import NOTE_ON, TIME_SHIFT, EventVocabulary
from midijax.generate import Length, generate
from midijax.performance import Performance
from midijax.sampling import SamplingSettings

DEFAULT_SECONDS = 30.0

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    config.DEFAULT_WORKDIR,
    "The folder of a trained model; its best checkpoint plays.",
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "generated", "Where the files go.", flag_values=FLAGS
)
_NUM_PERFORMANCES = flags.DEFINE_integer(
    "num_performances", 1, "How many performances to play, all at once.", flag_values=FLAGS
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    f"How long to play, the primer not counted; {DEFAULT_SECONDS:g} if --num_events is not given.",
    flag_values=FLAGS,
)
_NUM_EVENTS = flags.DEFINE_integer(
    "num_events",
    None,
    "Stop after this many events (a note takes about four); with --seconds, whichever comes first.",
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    None,
    "Gives the same music again with the same model and flags; drawn by chance if not given.",
    flag_values=FLAGS,
)
_TEMPERATURE = flags.DEFINE_float(
    "temperature",
    1.0,
    "Below 1 the music is more cautious, above 1 wilder; 0 always takes the likeliest event.",
    flag_values=FLAGS,
)
_TOP_K = flags.DEFINE_integer(
    "top_k", 0, "Choose only among this many of the likeliest events; 0: all.", flag_values=FLAGS
)
_TOP_P = flags.DEFINE_float(
    "top_p",
    1.0,
    "Choose only among the likeliest events that together have this probability; 1: all.",
    flag_values=FLAGS,
)
_MIN_P = flags.DEFINE_float(
    "min_p",
    0.0,
    "Leave out events less likely than this share of the likeliest one; 0: none.",
    flag_values=FLAGS,
)
_MAX_NOTE_SECONDS = flags.DEFINE_float(
    "max_note_seconds", 10.0, "Release every note after this time.", flag_values=FLAGS
)
_PRIMER = flags.DEFINE_string("primer", None, "A MIDI file to go on from.", flag_values=FLAGS)
_PRIMER_SECONDS = flags.DEFINE_float(
    "primer_seconds",
    10.0,
    "How much of the primer is heard, from its first note on.",
    flag_values=FLAGS,
)
_INCLUDE_PRIMER = flags.DEFINE_bool(
    "include_primer", True, "Whether the files begin with the primer.", flag_values=FLAGS
)


def main(arguments: list[str]) -> None:
    """Plays, writes the files and says where they are."""
    cli.reject(arguments)
    compilation.enable_compile_cache()
    settings, length, seed = _settings(), _length(), _seed()
    played_before = midi.read(_PRIMER.value) if _PRIMER.value else None
    loaded = checkpoint.load(Path(_WORKDIR.value).expanduser())
    vocabulary = loaded.config.vocabulary
    primer_tokens = np.empty(0, np.int32)
    if played_before:
        primer_tokens = primer.encode(vocabulary, played_before, _PRIMER_SECONDS.value)
    folder = _output_folder()

    print(f"Playing with seed {seed} from {loaded.path}", flush=True)
    batch = _play(loaded, seed, length, settings, primer_tokens)
    origin = _origin(loaded, seed, settings, primer_tokens)
    for index, tokens in enumerate(batch):
        performance = primer.join(vocabulary, primer_tokens, tokens, _INCLUDE_PRIMER.value)
        facts = origin | {"index": index} | _counts(vocabulary, tokens)
        _write(folder / f"seed{seed}-{index:03d}", performance, facts)


def _play(
    loaded: Loaded,
    seed: int,
    length: Length,
    settings: SamplingSettings,
    primer_tokens: np.ndarray,
) -> list[np.ndarray]:
    started = time.perf_counter()
    batch = generate(
        loaded.params,
        jax.random.key(seed),
        loaded.config,
        length,
        settings,
        _NUM_PERFORMANCES.value,
        primer_tokens,
    )
    took = time.perf_counter() - started
    num_events = sum(len(tokens) for tokens in batch)
    print(f"{num_events} events in {took:.1f} s, {num_events / took:.0f} a second")
    return batch


def _write(stem: Path, performance: Performance, facts: dict[str, Any]) -> None:
    """Writes STEM.mid, STEM.png and STEM.json and says so."""
    midi.write(performance, stem.with_suffix(".mid"))
    title = f"{stem.name}: step {facts['step']}, temperature {facts['settings']['temperature']:g}"
    plots.piano_roll(performance, stem.with_suffix(".png"), title)
    atomic.write_text(stem.with_suffix(".json"), json.dumps(facts, indent=2) + "\n")
    print(f"{stem}.mid, .png, .json: {facts['notes']} notes in {facts['seconds']:g} s")


def _origin(
    loaded: Loaded, seed: int, settings: SamplingSettings, primer_tokens: np.ndarray
) -> dict[str, Any]:
    """How the performances of a run came about, for their JSON files."""
    played_before = None
    if _PRIMER.value:
        counts = _counts(loaded.config.vocabulary, primer_tokens)
        played_before = {"file": _PRIMER.value, "included": _INCLUDE_PRIMER.value} | counts
    return {
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "primer": played_before,
        "versions": {"midijax": midijax.__version__, "jax": jax.__version__},
    }


def _counts(vocabulary: EventVocabulary, tokens: np.ndarray) -> dict[str, Any]:
    kinds, values = vocabulary.kinds[tokens], vocabulary.values[tokens]
    steps = int(values[kinds == TIME_SHIFT].sum())
    return {
        "events": len(tokens),
        "notes": int((kinds == NOTE_ON).sum()),
        "seconds": steps / vocabulary.steps_per_second,
    }


def _settings() -> SamplingSettings:
    return SamplingSettings(
        temperature=_TEMPERATURE.value,
        top_k=_TOP_K.value,
        top_p=_TOP_P.value,
        min_p=_MIN_P.value,
        max_note_seconds=_MAX_NOTE_SECONDS.value,
    )


def _length() -> Length:
    seconds, num_events = _SECONDS.value, _NUM_EVENTS.value
    if num_events is None:
        return Length(seconds=DEFAULT_SECONDS if seconds is None else seconds)
    return Length(math.inf if seconds is None else seconds, num_events)


def _seed() -> int:
    if _SEED.value is None:
        return secrets.randbelow(config.MAX_SEED + 1)
    in_range = 0 <= _SEED.value <= config.MAX_SEED
    require(in_range, "seed", _SEED.value, f"from 0 to {config.MAX_SEED}")
    return _SEED.value


def _output_folder() -> Path:
    folder = Path(_OUTPUT_DIR.value)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to --output_dir={folder}: {error.strerror}") from None
    return folder


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
