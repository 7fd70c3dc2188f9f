"""Plays new music: with the model that midijax brings, or with one of your own.

For each performance this writes a MIDI file, a picture of it (a piano roll) and a JSON file that
says how it was made. The same seed gives the same music.

    python -m midijax.sample
    python -m midijax.sample --num_performances=8 --seconds=60 --seed=1 --temperature=0.95
    python -m midijax.sample --primer=my_playing.mid --primer_seconds=10

A model trained with controls can be asked for a density of notes, for pitch classes, a loudness or
a composer, or for several of them one after the other:

    python -m midijax.sample --notes_per_second=2,8,4 --loudness=50 --guidance=1.5

The performances are divided among all devices. Started on several hosts with --distributed, with a
--workdir that all of them see, each plays and writes its share.
"""

import secrets
from pathlib import Path

from absl import flags

from midijax import cli, config, control_flags, distributed, outputs, sampling_flags
from midijax.controls import Wishes
from midijax.errors import UserError, require

DEFAULT_SECONDS = 60.0
MAX_SECONDS, MAX_EVENTS = 24 * 3600.0, 2**25  # a day

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder of a trained model, whose best checkpoint plays; if not given, the model that lies "
    "in the repository's checkpoints/performance_rnn.",
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", "generated", "Where the files go.", flag_values=FLAGS
)
_NUM_PERFORMANCES = flags.DEFINE_integer(
    "num_performances",
    3,
    "How many performances to play, all at once.",
    lower_bound=1,
    upper_bound=10_000,
    flag_values=FLAGS,
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    f"How long to play, the primer not counted; {DEFAULT_SECONDS:g} if --num_events is not given.",
    lower_bound=0.0,
    upper_bound=MAX_SECONDS,
    flag_values=FLAGS,
)
_NUM_EVENTS = flags.DEFINE_integer(
    "num_events",
    None,
    "Stop after this many events (a note takes about four); with --seconds, whichever comes first.",
    lower_bound=1,
    upper_bound=MAX_EVENTS,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    None,
    "Gives the same music again with the same model and flags; drawn by chance if not given.",
    lower_bound=0,
    upper_bound=config.MAX_SEED,
    flag_values=FLAGS,
)
sampling_flags.define_flags(FLAGS)
_PRIMER = flags.DEFINE_string("primer", None, "A MIDI file to go on from.", flag_values=FLAGS)
_PRIMER_SECONDS = flags.DEFINE_float(
    "primer_seconds",
    10.0,
    "How many seconds of the primer are heard, from its first note on.",
    lower_bound=0.0,
    upper_bound=MAX_SECONDS,
    flag_values=FLAGS,
)
_INCLUDE_PRIMER = flags.DEFINE_bool(
    "include_primer", True, "Whether the files begin with the primer.", flag_values=FLAGS
)
control_flags.define_flags(FLAGS)
distributed.define_flags(FLAGS)


def main(arguments: list[str]) -> None:
    """Plays, writes the files and says where they are."""
    cli.reject(arguments, FLAGS)
    _check_primer()
    wishes = control_flags.wishes(FLAGS)
    folder = cli.path(_OUTPUT_DIR.value)
    outputs.require_folder("output_dir", folder)
    seed = secrets.randbelow(config.MAX_SEED + 1) if _SEED.value is None else _SEED.value
    with distributed.joined(FLAGS):
        _play(distributed.from_primary(seed), wishes, folder)


def _play(seed: int, wishes: Wishes, folder: Path) -> None:
    from midijax import checkpoint, playing  # JAX and Matplotlib, after --help and bad flags
    from midijax.compilation import enable_compile_cache

    enable_compile_cache()
    request = playing.Request(
        seed=seed,
        seconds=_seconds(),
        num_events=_NUM_EVENTS.value,
        settings=sampling_flags.settings(FLAGS),
        wishes=wishes,
        primer=None if _PRIMER.value is None else cli.path(_PRIMER.value),
        primer_seconds=_PRIMER_SECONDS.value,
        include_primer=_INCLUDE_PRIMER.value,
    )
    loaded = checkpoint.load(_workdir())
    playing.play(loaded, request, _NUM_PERFORMANCES.value, folder)


def _workdir() -> Path:
    if _WORKDIR.value is not None:
        return cli.path(_WORKDIR.value)
    if not config.SHIPPED_WORKDIR.is_dir():
        raise UserError(
            "this installation lacks the model that midijax brings, which lies in its repository; "
            "name one of your own by --workdir"
        )
    return config.SHIPPED_WORKDIR


def _seconds() -> float | None:
    if _SECONDS.value is None and _NUM_EVENTS.value is None:
        return DEFAULT_SECONDS
    return _SECONDS.value


def _check_primer() -> None:
    """Refuses what is said of a primer that is not there, or of none of it."""
    require(_PRIMER_SECONDS.value > 0, "primer_seconds", _PRIMER_SECONDS.value, "above 0")
    for flag in (_PRIMER_SECONDS, _INCLUDE_PRIMER):
        if FLAGS[flag.name].present and _PRIMER.value is None:
            raise UserError(f"--{flag.name} is of a primer; name one by --primer, or leave it out")


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
