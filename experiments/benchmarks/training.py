"""How fast and in how much memory a training step runs: midijax beside PyTorch, Keras and Flax.

One step is forward, backward, gradient clipping and Adam for the paper's model (413 events, 3 x
512) on 64 sequences of 256 random events. Contestants take turns; quiet the machine first.

    python3 -m venv peers && peers/bin/pip install -r experiments/benchmarks/peers.txt
    python experiments/benchmarks/training.py --peers_python=peers/bin/python
"""

import benchmark
import machine
import turns
from absl import flags
from turns import Contestant

_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16"),
    "Type of the matrix products; PyTorch and Keras by their own mixed precision.",
    flag_values=benchmark.FLAGS,
)
BATCH_SIZE, NUM_STEPS, DISPATCH = 64, 256, 4
HIDDEN, LAYERS, EVENTS = 512, 3, 413


def measure() -> benchmark.Report:
    """All contestants, and the time that the arithmetic alone takes at this machine's best."""
    settings = {"dtype": _DTYPE.value, "batch_size": BATCH_SIZE, "num_steps": NUM_STEPS}
    several = {**settings, "dispatch": DISPATCH}
    contestants = [
        Contestant("midijax", "midijax_training.py", settings),
        Contestant(f"midijax, {DISPATCH} steps per dispatch", "midijax_training.py", several),
    ]
    if python := benchmark.PEERS_PYTHON.value:
        contestants.append(Contestant("PyTorch nn.LSTM", "torch_training.py", settings, python))
        contestants.append(Contestant("Keras (TensorFlow)", "keras_training.py", settings, python))
    contestants.append(Contestant("Flax nn.RNN", "flax_training.py", settings))
    rates = machine.measure()
    results = turns.run(contestants, benchmark.NUM_ROUNDS.value, benchmark.environment())
    rate = getattr(rates, f"{_DTYPE.value}_flops")
    floor = rate / operations_per_event()
    markdown = (
        f"{_DTYPE.value}\n\n{turns.table(results, 'events')}\n\n"
        f"Floor: {operations_per_event() / 1e6:.1f} million operations per event at the machine's "
        f"{rate / 1e9:,.0f} GFLOP/s allow {floor:,.0f} events/s; midijax reaches "
        f"{results[0].units_per_second / floor:.0%} of that."
    )
    figures = {
        "settings": settings,
        "rates": rates._asdict(),
        "floor_events_per_second": floor,
        "results": [result._asdict() for result in results],
    }
    return benchmark.Report(markdown, figures)


def operations_per_event() -> float:
    """Multiplications and additions of the matrix products, forward and backward.

    The first layer looks its input product up, in a table that takes one product per event id.
    """
    square = 2 * HIDDEN * 4 * HIDDEN
    table = square * (EVENTS + 1) / (BATCH_SIZE * NUM_STEPS)
    return 3 * ((2 * LAYERS - 1) * square + table + 2 * HIDDEN * EVENTS)


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
