"""Performance RNN's 388 events on MAESTRO v3: the recipe of the shipped model, for one GPU.

Source:  Magenta's Performance RNN (Simon & Oore 2017): 3 x 512 LSTM, 100 steps/s, 32 velocities,
         conditioned on density and pitch classes. Ours: 3 x 768, residual layers with normalization
         before each, state carried through whole performances, loudness and composer too. What led
         here is in experiments/trials/.
Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \
             --config=experiments/performance_rnn.py
Time:    8.3 minutes on one NVIDIA H200 with 16 CPU cores, at 1.85 million events/s; see below for
         machines without a GPU.
Score:   2.042 nats per event on MAESTRO's validation split (137 performances, 2,591,657 events),
         whole performances with carried state, nothing said by any control.

    events seen         288 M   577 M   865 M
    validation          2.133   2.094   2.042

The rate falls from 692 M events on, by when every performance has been heard some 30 times. In the
end the training split scores 0.25 lower: a network that learns less by heart would help more than
more of the same. Trials since (experiments/trials) say how: weight decay and weight drop.

Two CPU cores take 5,600 events/s, two days for all of it. A smaller network came to 2.171 there in
2.7 hours (109.8 M events; 512 units, no dropout, 32 rows of 256 streams, rate 3e-3, music moved by
up to 3 semitones and stretched by up to 5 %, each control told to a tenth of the windows).
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
    """13,200 steps of 256 rows x 256 events: 865 million events, 38 times through MAESTRO."""
    return Config(
        vocabulary=PERFORMANCE_RNN,
        controls=Controls(enabled=True, composers=COMPOSERS),
        model=ModelConfig(hidden_size=768, residual=True, dropout_rate=0.25, dtype="bfloat16"),
        data=DataConfig(
            batch_size=256,
            sequence_length=256,
            num_streams=256,
            max_transpose=6,
            max_stretch=0.1,
            control_dropout=0.8,
        ),
        optimizer=OptimizerConfig(learning_rate=4e-3, schedule="trapezoid", warmup_steps=300),
        num_steps=13_200,
        eval_every_steps=4_400,
        checkpoint_every_steps=400,
        log_every_steps=40,
        steps_per_dispatch=4,
    )
