"""Performance RNN's 388 events (10 ms steps, sustain applied) on MAESTRO v3, for about 10 million.

Source:  Magenta's Performance RNN (Simon & Oore 2017): 3 x 512 LSTM, 100 steps/s, 32 velocities.
Command: python -m midijax.prepare --dataset=maestro-v3 --output_dir=runs/data/maestro-v3
         python -m midijax.train --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \\
             --config=experiments/performance_rnn.py
Time:    about 35 minutes on 2 CPU cores (AVX-512 with bfloat16), put together from what was
         measured, for the run shared its machine: 7,000 to 7,500 events/s when left alone, and 2 to
         4 minutes for each of the 4 validations. The recurrent core has been made faster since, and
         draws its first parameters in another order; the run has not been repeated.
Score:   2.689 nats/event, on the whole MAESTRO validation split (137 performances, 2,591,657
         events), whole performances with carried state; 10.90 nats/note, 99.5 nats/second. Over
         2048-event crops: 2.699 nats/event.

    events seen                    2.46 M   4.92 M   7.37 M   9.83 M
    validation, nats/event          3.140    2.858    2.738    2.689

For comparison, a plain PyTorch `nn.LSTM` of the same size (64 streams x 256 events, carried state,
no augmentation) stood at 3.114 after 9.8 M events and at 2.745 after 19.7 M, on the first 6,000
events of 32 performances. On the first 6,000 events of the first 32 performances this run scores
2.661:

    python -m midijax.evaluate --workdir=runs/performance_rnn --data=runs/data/maestro-v3 \\
        --max_performances=32 --max_events=6000

It differs from that reference in its smaller batches (32 windows, each from the zero state), the
augmentation, no dropout, a forget bias of 1, orthogonal recurrent weights, unit-variance embeddings
and a cosine schedule that ends with the run. The music is denser than MAESTRO's (16 notes a second
against 9): ten million events are less than half an epoch, and it forgets to release notes.
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
        steps_per_dispatch=5,
    )
