"""Performance RNN's 388 events on MAESTRO v3: the recipe of the shipped model, on its way.

Source:  Magenta's Performance RNN (Simon & Oore 2017): 3 x 512 LSTM, 100 steps/s, 32 velocities,
         conditioned on density and pitch classes. Ours: residual layers with normalization before
         each, state carried through whole performances, loudness and composer too.
Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \
             --config=experiments/performance_rnn.py
Time:    by its speed (11,000 events/s on 2 CPU cores with AVX-512 and bfloat16 that have nothing
         else to do) some 5 hours, and 20 validations of 1.5 minutes.
Score:   not known for the whole run: it stands at step 2,000 of 24,000. The shipped model was made
         from there in 27 minutes, with a learning rate that ends low:

         python -m midijax.train --workdir=runs/interim --data=runs/data/maestro-v3 \
             --config=experiments/performance_rnn.py --start_from=runs/performance_rnn \
             --config.num_steps=1600 --config.eval_every_steps=1600 \
             --config.checkpoint_every_steps=200 --config.optimizer.schedule=cosine \
             --config.optimizer.warmup_steps=20

    events seen                    8.19 M  16.38 M    29.49 M (the last 13.1 M of them as above)
    validation, nats/event          2.747    2.608      2.452

The scores are over the whole MAESTRO validation split (137 performances, 2,591,657 events), whole
performances with carried state, nothing said by any control. Before, this file was a plain stack
of the same size on random windows: 2.689 after 9.8 million events with a cosine schedule.
"""

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
        data=DataConfig(batch_size=32, sequence_length=256, num_streams=256, control_dropout=0.9),
        optimizer=OptimizerConfig(learning_rate=3e-3, schedule="trapezoid", warmup_steps=200),
        num_steps=24_000,
        eval_every_steps=2_000,
        checkpoint_every_steps=100,
        log_every_steps=20,
        steps_per_dispatch=4,
    )
