"""The seed notebook's choices where they make sense: 381 events (no velocities), 2 x 512, RMSprop.

Source:  a Keras notebook after Oore et al. (2018) on Piano-e-Competition files: RMSprop at 0.01, 64
         pieces of 800 events a batch, 20 epochs, 100 files drawn, a fifth of them for validation.
Command: python -m midijax.prepare --input=YOUR_FILES --validation_fraction=0.2 \\
             --output_dir=runs/data/notebook
         python -m midijax.train --workdir=runs/notebook --data=runs/data/notebook \\
             --config=experiments/notebook.py
Time:    13 minutes on 2 CPU cores (AVX-512 with bfloat16) that had other work too, at 7,000 to
         11,000 events/s.
Score:   3.528 nats/event on 4 of 37 Piano-e-Competition files held out, 33 trained on.

    events seen                    1.79 M   3.58 M   5.38 M   7.17 M
    validation, nats/event          4.459    3.911    3.687    3.528

Where the notebook took each file's first 800 events, this takes any 800; 140 steps show those 33
files some 25 times. Clipping at 1 is ours. Scores without velocities compare with no other
vocabulary's.
"""

from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.events import NOTEBOOK


def get_config() -> Config:
    """381 events (no velocities), 2 x 512, RMSprop 0.01, batches of 64 x 800 events, 100 files."""
    return Config(
        vocabulary=NOTEBOOK,
        model=ModelConfig(num_layers=2, dropout_rate=0.0, dtype="bfloat16"),
        data=DataConfig(
            batch_size=64,
            sequence_length=800,
            max_transpose=0,
            max_stretch=0.0,
            max_performances=100,
        ),
        optimizer=OptimizerConfig(
            name="rmsprop", learning_rate=0.01, schedule="constant", warmup_steps=0
        ),
        num_steps=140,
        eval_every_steps=35,
        checkpoint_every_steps=35,
    )
