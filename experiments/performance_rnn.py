"""Performance RNN's 388 events (10 ms steps, sustain applied) on MAESTRO v3, for about 10 million.

Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \\
             --config=experiments/performance_rnn.py
"""

from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.events import PERFORMANCE_RNN


def get_config() -> Config:
    """1,200 steps of 32 windows x 256 events: 9.8 million events."""
    return Config(
        vocabulary=PERFORMANCE_RNN,
        model=ModelConfig(dropout_rate=0.0, dtype="bfloat16"),
        data=DataConfig(batch_size=32, sequence_length=256),
        optimizer=OptimizerConfig(learning_rate=2e-3),
        num_steps=1_200,
        eval_every_steps=300,
        checkpoint_every_steps=50,
    )
