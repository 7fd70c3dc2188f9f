"""The shipped model: Performance RNN's 388 events on MAESTRO v3, residual layers, controls."""

from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.controls import Controls
from midijax.events import PERFORMANCE_RNN

COMPOSERS = (
    "Alexander Scriabin",
    "Claude Debussy",
    "Domenico Scarlatti",
    "Felix Mendelssohn",
    "Franz Liszt",
    "Franz Schubert",
    "Frédéric Chopin",
    "Johann Sebastian Bach",
    "Johannes Brahms",
    "Joseph Haydn",
    "Ludwig van Beethoven",
    "Robert Schumann",
    "Sergei Rachmaninoff",
    "Wolfgang Amadeus Mozart",
)  # of whom MAESTRO's training split has 18 performances or more


def get_config() -> Config:
    """24,000 steps of 32 rows x 256 events: 197 million events, nine times through MAESTRO."""
    return Config(
        vocabulary=PERFORMANCE_RNN,
        controls=Controls(enabled=True, composers=COMPOSERS),
        model=ModelConfig(residual=True, dropout_rate=0.0, dtype="bfloat16"),
        data=DataConfig(batch_size=32, sequence_length=256, carry_state=True, control_dropout=0.75),
        optimizer=OptimizerConfig(learning_rate=1.5e-3, schedule="trapezoid", warmup_steps=200),
        num_steps=24_000,
        eval_every_steps=1_000,
        checkpoint_every_steps=100,
        log_every_steps=20,
        steps_per_dispatch=4,
    )
