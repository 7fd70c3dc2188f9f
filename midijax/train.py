"""Trains a model on a prepared corpus, or on the built-in études.

The folder given by --workdir gets the checkpoints (the latest two and the best), metrics.jsonl, a
line about speed and memory each minute in health-0.jsonl, and at each evaluation a sample of what
the model plays by then. Ctrl-C and SIGTERM save before they end it, with exit code 75; run the same
command again and it goes on where it stopped. A second one ends it at once, also without harm.

  python -m midijax.train                          (a tiny model on the études, a minute or two)
  python -m midijax.train --workdir=runs/mine --data=runs/data/mine \\
      --config=experiments/performance_rnn.py

One process uses all devices of its machine. Started on several hosts with --distributed, the
processes are one run. All read --data; the first alone reads and writes checkpoints, in --workdir.

Any field of the config can be set on the command line, as in --config.num_steps=500 or
--config.model.hidden_size=256; midijax/config.py says what each means.
"""

from pathlib import Path

from absl import flags

from midijax import cli, config, config_flags, corpus, distributed, etudes, mirror, workdir
from midijax.config import Config
from midijax.corpus import Recording
from midijax.distributed import Processes
from midijax.stopping import TRY_AGAIN, StopRequest
from midijax.workdir import Workdir

VALIDATION_ETUDES = 10

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    config.DEFAULT_WORKDIR,
    "Where the run is kept: a folder, or one in a bucket, gs://... or s3://....",
    flag_values=FLAGS,
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "A corpus made by midijax.prepare; if not given, the études that come with midijax.",
    flag_values=FLAGS,
)
_CONFIG = flags.DEFINE_string(
    "config",
    None,
    "An experiment, such as experiments/oore2018.py; if not given, the tiny preset. It is a Python "
    "program of yours, and is run; nothing in a corpus or a checkpoint ever is.",
    flag_values=FLAGS,
)
_PROFILE_STEPS = flags.DEFINE_integer(
    "profile_steps",
    0,
    "Trace this many steps, soon after the start, into a folder named after the time, in "
    "`profile/plugins/profile` of the workdir: its perfetto_trace.json.gz opens in "
    "ui.perfetto.dev, its .xplane.pb in XProf.",
    lower_bound=0,
    upper_bound=10_000,
    flag_values=FLAGS,
)
_START_FROM = flags.DEFINE_string(
    "start_from",
    None,
    "Begin with what another run has learned, by its workdir: its best checkpoint's parameters in "
    "place of random ones. To go on from a model on recordings of your own, say.",
    flag_values=FLAGS,
)
distributed.define_flags(FLAGS)


def main(arguments: list[str]) -> int:
    """Trains to the config's last step, or until it is asked to stop."""
    cli.reject([word for word in arguments if not word.startswith("--config.")], FLAGS)
    data = None if _DATA.value is None else cli.path(_DATA.value)
    start_from = None if _START_FROM.value is None else cli.path(_START_FROM.value)
    chosen = config.TINY
    if _CONFIG.value is not None:
        chosen = config_flags.load(cli.path(_CONFIG.value))
    chosen = config_flags.override(chosen, arguments)
    with (
        distributed.joined(FLAGS, stop_together=True) as processes,
        processes.stop_request() as stop_requested,
        workdir.held(cli.path(_WORKDIR.value), processes.is_primary) as run,
    ):
        with processes.primary_first():
            corpus_folder = mirror.fetched(data) if data else _write_etudes(run.path / "etudes")
        return _train(run, chosen, corpus_folder, start_from, processes, stop_requested)


def _train(
    run: Workdir,
    chosen: Config,
    data: Path,
    start_from: Path | None,
    processes: Processes,
    stop_requested: StopRequest,
) -> int:
    from midijax import checkpoint  # JAX, after --help and bad flags
    from midijax.compilation import enable_compile_cache
    from midijax.training import Trainer

    enable_compile_cache()
    learned = checkpoint.load(start_from) if start_from else None
    trainer = Trainer(run.path, chosen, data, run.send, learned)
    tell = print if processes.is_primary else _be_silent
    if processes.is_primary:
        workdir.describe(run.path, chosen)
        run.send()
    if trainer.is_finished:
        tell(f"{run.name} is trained: all {trainer.step:,} steps are done.")
    else:
        tell(f"Training in {run.name}, from step {trainer.step:,} to {chosen.num_steps:,}.")
        if start_from and not trainer.step:
            tell(f"It begins with what {start_from} has learned.")
        if not trainer.run(stop_requested, _PROFILE_STEPS.value):
            tell(
                f"Stopped and saved at step {trainer.saved_step:,}; "
                "the same command goes on from there."
            )
            return TRY_AGAIN
    tell(f"Let it play: python -m midijax.sample --workdir={_WORKDIR.value}")
    return 0


def _be_silent(text: str) -> None:
    """What the primary tells, the others need not repeat."""


def _write_etudes(folder: Path) -> Path:
    if not folder.exists():
        recordings = [Recording.of(name, etude) for name, etude in etudes.corpus()]
        corpus.write(
            folder,
            {
                "train": recordings[:-VALIDATION_ETUDES],
                "validation": recordings[-VALIDATION_ETUDES:],
            },
        )
    return folder


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
