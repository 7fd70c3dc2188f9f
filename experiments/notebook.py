"""The seed notebook's choices where they make sense, with its mistakes mended."""

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
