"""What a network scores before its first step of training: its parameters as they are drawn.

    python experiments/baselines/untrained.py --data=runs/data/maestro-v3
    python experiments/baselines/untrained.py --data=runs/data/maestro-v3 \\
        --config.model.residual=false --config.controls.enabled=false

To guess among all events alike would score ln 388 = 5.96 nats per event.
"""

import baseline
from absl import flags

from midijax import cli, config_flags, metrics, model
from midijax.compilation import enable_compile_cache
from midijax.errors import UserError
from midijax.train_step import data_mesh, initial_state

FLAGS = baseline.FLAGS
_CONFIG = flags.DEFINE_string(
    "config",
    "experiments/performance_rnn.py",
    "The experiment whose network and seed to take.",
    flag_values=FLAGS,
)


def main(arguments: list[str]) -> None:
    """Draws, scores, and tells the figures."""
    folder = baseline.begin([word for word in arguments if not word.startswith("--config.")])
    config = config_flags.override(config_flags.load(cli.path(_CONFIG.value)), arguments)
    if config.vocabulary != baseline.VOCABULARY:
        raise UserError(f"{_CONFIG.value} has other events than the baselines; take another")
    enable_compile_cache()
    network, mesh = model.from_config(config), data_mesh()
    params = initial_state(config, network, mesh).params
    baseline.report(
        f"{_CONFIG.value}, untrained",
        lambda sequences: metrics.score(
            network, params, sequences, config.vocabulary, mesh=mesh, progress=True
        ),
        baseline.to_predict(folder),
    )


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
