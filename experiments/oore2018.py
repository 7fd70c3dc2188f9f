"""The model of Oore et al. (2018): 413 events (8 ms steps, sustain applied), an LSTM of 3 x 512."""

from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.events import OORE_2018


def get_config() -> Config:
    """Batches of 64."""
    return Config(
        vocabulary=OORE_2018,
        model=ModelConfig(),
        data=DataConfig(batch_size=64, sequence_length=512),
        optimizer=OptimizerConfig(learning_rate=1e-3, clip_norm=3.0),
        num_steps=40_000,
        eval_every_steps=2_000,
        checkpoint_every_steps=500,
    )
