"""Trains a model on a prepared corpus, or on the built-in études.

The folder given by --workdir gets the checkpoints (the latest and the best), metrics.jsonl, and at
each evaluation a sample of what the model plays by then. Ctrl-C and SIGTERM save before they end
it, with exit code 75; run the same command again and it goes on where it stopped.

  python -m midijax.train                          (a tiny model on the études, a minute or two)
  python -m midijax.train --workdir=runs/mine --data=runs/data/mine \\
      --config=experiments/performance_rnn.py

Any field of the config can be set on the command line, as in --config.num_steps=500 or
--config.model.hidden_size=256; midijax/config.py says what each means.
"""

import importlib.metadata
import json
import platform
from pathlib import Path

from absl import flags

from midijax import atomic, cli, config, config_flags, corpus, etudes
from midijax.config import Config
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.stopping import TRY_AGAIN, StopRequest

VALIDATION_ETUDES = 10
_PACKAGES = ("midijax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir", config.DEFAULT_WORKDIR, "Where the run is kept.", flag_values=FLAGS
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
    "An experiment, such as experiments/oore2018.py; if not given, the tiny preset.",
    flag_values=FLAGS,
)


def main(arguments: list[str]) -> int:
    """Trains to the config's last step, or until it is asked to stop."""
    chosen = config_flags.load(cli.path(_CONFIG.value)) if _CONFIG.value else config.TINY
    chosen = config_flags.override(chosen, arguments)
    workdir = cli.path(_WORKDIR.value).absolute()
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made: {error.strerror}") from error
    data = cli.path(_DATA.value) if _DATA.value else _write_etudes(workdir / "etudes")

    from midijax.compilation import enable_compile_cache  # JAX, after --help and bad flags
    from midijax.training import Trainer

    enable_compile_cache()
    trainer = Trainer(workdir, chosen, data)
    _describe(workdir, chosen)
    if trainer.step == chosen.num_steps:
        print(f"{workdir} is trained: all {trainer.step:,} steps are done.")
    else:
        print(f"Training in {workdir}, from step {trainer.step:,} to {chosen.num_steps:,}.")
        with StopRequest() as stop_requested:
            finished = trainer.run(stop_requested)
        if not finished:
            print(
                f"Stopped and saved at step {trainer.step:,}; the same command goes on from there."
            )
            return TRY_AGAIN
    print(f"Let it play: python -m midijax.sample --workdir={_WORKDIR.value}")
    return 0


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


def _describe(workdir: Path, chosen: Config) -> None:
    """Leaves a note of the config and the versions in the workdir."""
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    for name, content in (("config", config.to_json(chosen)), ("versions", versions)):
        atomic.write_text(workdir / f"{name}.json", json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
