"""Performance RNN's 388 events on MAESTRO v3: the recipe of the shipped model, on its way.

Source:  Magenta's Performance RNN (Simon & Oore 2017): 3 x 512 LSTM, 100 steps/s, 32 velocities,
         conditioned on density and pitch classes. Ours: residual layers with normalization before
         each, state carried through whole performances, loudness and composer too. What led here
         is in experiments/trials/.
Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \
             --config=experiments/performance_rnn.py
Time:    by its speed (12,400 events/s on 2 CPU cores with AVX-512 and bfloat16 that have nothing
         else to do) 4.7 hours with its 12 validations. That is with a device for each core:
         XLA_FLAGS="--xla_force_host_platform_device_count=2 --xla_cpu_multi_thread_eigen=false";
         without, some 12 % fewer.
Score:   not known for the whole run: it stands at step 12,000 of 24,000, after 2.4 hours. The
         shipped model was made from there in 18 minutes, with a learning rate that ends low:

         python -m midijax.train --workdir=runs/fall --data=runs/data/maestro-v3 \
             --config=experiments/performance_rnn.py --start_from=runs/performance_rnn \
             --config.num_steps=1400 --config.eval_every_steps=1400 \
             --config.checkpoint_every_steps=200 --config.optimizer.schedule=cosine \
             --config.optimizer.warmup_steps=20

    events seen         16.4 M  32.8 M  49.2 M  65.5 M  81.9 M  98.3 M  109.8 M (as above)
    validation           2.464   2.361   2.308   2.273   2.249   2.236    2.171

The scores are in nats per event over the whole MAESTRO validation split (137 performances,
2,591,657 events), whole performances with carried state, nothing said by any control. The 12,000
steps were taken by the commit "The recipe that short trials led to" (941345f), whose windows begin
with START also where an epoch cuts into a performance.
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
        checkpoint_every_steps=2_200,
        log_every_steps=40,
        steps_per_dispatch=4,
    )
