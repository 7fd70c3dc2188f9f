"""Trains a recipe for a short while and scores it: a row of the table in README.md.

    python experiments/trials/trial.py --data=runs/data/maestro-v3 --events=3.3 \\
        --config=experiments/performance_rnn.py --config.optimizer.learning_rate=2e-3

The schedule runs over the trial's own length. What is scored: the first 6,000 events of each of
the first 32 performances of the validation split, with carried state, and of as many that it was
trained on: how much lower these score tells what is learned by heart.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from absl import flags

from midijax import (
    cli,
    config_flags,
    corpus,
    input_pipeline,
    metrics,
    mirror,
    model,
    progress,
    train_step,
)
from midijax.batches import stack
from midijax.compilation import enable_compile_cache
from midijax.config import Config
from midijax.errors import UserError
from midijax.metrics import Scores
from midijax.windows import chosen_performances

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
    """Trains and prints the row: what was changed, the events seen, both scores."""
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
    held_out, heard = train_and_score(dataclasses.replace(config, num_steps=num_steps), folder)
    what = " ".join(word.removeprefix("--config.") for word in changes) or "as it is"
    seen = num_steps * row_events / 1e6
    scores = f"{held_out.nats_per_event:.3f} | {heard.nats_per_event:.3f}"
    print(f"| `{what}` | {seen:.2f} M | {scores} |")


def train_and_score(config: Config, folder: Path) -> tuple[Scores, Scores]:
    """Trains through a config's steps, saving nothing; scores music held out and music heard."""
    held_out, heard = (corpus.open_split(folder, split) for split in ("validation", "train"))
    network, mesh = model.from_config(config), train_step.data_mesh()
    state = train_step.initial_state(config, network, mesh)
    train_steps = train_step.make_train_steps(config, network, mesh)
    batches = input_pipeline.training_batches(folder, config)
    steps_at_once = config.steps_per_dispatch
    for step in progress.bar(range(0, config.num_steps, steps_at_once), desc="training"):
        batches_K = stack(list(itertools.islice(batches, steps_at_once)))
        placed = jax.device_put(batches_K, train_step.batches_sharding(mesh))
        state, _ = jax.block_until_ready(train_steps(state, placed, step + 1))

    def score(records: Sequence[bytes], numbers: Sequence[int] | np.ndarray) -> Scores:
        vocabulary = config.vocabulary
        performances = [corpus.unpack(records[n])[1] for n in numbers[:SCORED_PERFORMANCES]]
        events = [vocabulary.encode(performance)[:SCORED_EVENTS] for performance in performances]
        return metrics.score(network, state.params, events, vocabulary, mesh=mesh)

    chosen = chosen_performances(len(heard), config.data, config.seed)
    return score(held_out, range(len(held_out))), score(heard, chosen)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
