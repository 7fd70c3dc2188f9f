"""The model of Oore et al. (2018): 413 events (8 ms steps, sustain applied), an LSTM of 3 x 512.

Source:  *This Time with Feeling: Learning Expressive Musical Performance*, 2018, doi
         10.1007/s00521-018-3758-9. The paper's learning rate and length of training are not known
         here; they are Performance RNN's (Adam 1e-3, clipping at 3, batches of 64) and our guess.
Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/oore2018 --data=runs/data/maestro-v3 \\
             --config=experiments/oore2018.py
Time:    by its speed (6,000 events/s) some 60 hours on 2 CPU cores: for an accelerator.
Score:   not known for the whole run. Its first 150 steps (4.9 million events, of which two thirds
         are warm-up) on 2 CPU cores, in 16 minutes with one validation, by adding
         --config.num_steps=150 --config.model.dtype=bfloat16 --config.eval_every_steps=150: 3.699
         nats/event, MAESTRO validation, whole performances.
"""

from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.events import OORE_2018


def get_config() -> Config:
    """40,000 steps of 64 windows x 512 events: 1.3 billion events."""
    return Config(
        vocabulary=OORE_2018,
        model=ModelConfig(),
        data=DataConfig(batch_size=64, sequence_length=512),
        optimizer=OptimizerConfig(learning_rate=1e-3, clip_norm=3.0),
        num_steps=40_000,
        eval_every_steps=2_000,
        checkpoint_every_steps=500,
    )
