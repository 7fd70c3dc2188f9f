"""Trains a recipe for a short while and scores it: a row of the table in README.md.

    python experiments/trials/trial.py --data=runs/data/maestro-v3 --events=3.3 \\
        --config=experiments/performance_rnn.py --config.optimizer.learning_rate=2e-3

The schedule runs over the trial's own length. What is scored: the first 6,000 events of each of
the first 32 performances of the validation split, with carried state.
"""

import dataclasses
import itertools
from pathlib import Path

import jax
from absl import flags

from midijax import cli, config_flags, input_pipeline, metrics, mirror, model, progress, train_step
from midijax.batches import stack
from midijax.compilation import enable_compile_cache
from midijax.config import Config
from midijax.errors import UserError
from midijax.metrics import Scores

SCORED_PERFORMANCES, SCORED_EVENTS = 32, 6000

FLAGS = flags.FlagValues()
_DATA = flags.DEFINE_string("data", None, "Corpus made by midijax.prepare.", flag_values=FLAGS)
_CONFIG = flags.DEFINE_string(
    "config", "experiments/performance_rnn.py", "The experiment to vary.", flag_values=FLAGS
)
_EVENTS = flags.DEFINE_float(
    "events", 3.3, "Millions of events to train on.", lower_bound=1e-6, flag_values=FLAGS
)


def main(arguments: list[str]) -> None:
    """Trains and prints the row: what was changed, the events seen, the scores."""
    changes = [word for word in arguments if word.startswith("--config.")]
    cli.reject([word for word in arguments if word not in changes], FLAGS)
    if not _DATA.value:
        raise UserError("--data is needed: a corpus made by midijax.prepare")
    config = config_flags.override(config_flags.load(cli.path(_CONFIG.value)), changes)
    enable_compile_cache()
    folder = mirror.fetched(cli.path(_DATA.value))
    num_events = round(_EVENTS.value * 1e6)
    row_events = config.data.batch_size * config.data.sequence_length
    dispatches = max(1, round(num_events / (row_events * config.steps_per_dispatch)))
    num_steps = dispatches * config.steps_per_dispatch
    scores = train_and_score(dataclasses.replace(config, num_steps=num_steps), folder)
    what = " ".join(word.removeprefix("--config.") for word in changes) or "as it is"
    seen = num_steps * row_events / 1e6
    print(f"| `{what}` | {seen:.2f} M | {scores.nats_per_event:.3f} |")


def train_and_score(config: Config, folder: Path) -> Scores:
    """Trains through a config's steps, saving nothing, and scores what came of it."""
    network, mesh = model.from_config(config), train_step.data_mesh()
    state = train_step.initial_state(config, network, mesh)
    train_steps = train_step.make_train_steps(config, network, mesh)
    batches = input_pipeline.training_batches(folder, config)
    steps_at_once = config.steps_per_dispatch
    for step in progress.bar(range(0, config.num_steps, steps_at_once), desc="training"):
        batches_K = stack(list(itertools.islice(batches, steps_at_once)))
        placed = jax.device_put(batches_K, train_step.batches_sharding(mesh))
        state, _ = train_steps(state, placed, step + 1)
    held_out = input_pipeline.validation_sequences(folder, config.vocabulary)
    chosen = [events[:SCORED_EVENTS] for events in held_out[:SCORED_PERFORMANCES]]
    return metrics.score(network, state.params, chosen, config.vocabulary, mesh=mesh)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
