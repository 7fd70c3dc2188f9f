"""How fast an untrained model of the paper's size (413 events, 3 x 512) plays: beside PyTorch.

Timed is a whole call: from START and weights as they are stored to the events of all performances
in the host's memory, drawn at temperature 1. midijax also keeps to its grammar, and leaves out what
cannot be played; its peers draw any event. Contestants take turns; quiet the machine first.

    python3 -m venv peers && peers/bin/pip install -r experiments/benchmarks/peers.txt
    python experiments/benchmarks/generation.py --peers_python=peers/bin/python
"""

import time

import benchmark
import jax
import jax.numpy as jnp
import machine
import turns
from absl import flags
from turns import Contestant

_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ("float32", "bfloat16"),
    "Type of the matrix products; PyTorch's whole model is of that type.",
    flag_values=benchmark.FLAGS,
)
_TOP_P = flags.DEFINE_float(
    "top_p",
    1.0,
    "Draw only among the likeliest events that together have this probability; 1: all.",
    flag_values=benchmark.FLAGS,
)
PEERS = (("nn.LSTM", "eager"), ("matrix products", "eager"), ("matrix products", "compiled"))
STEPS_BY_BATCH_SIZE = {1: 1024, 64: 128}
HIDDEN, LAYERS, EVENTS = 512, 3, 413
NUM_WEIGHTS = (2 * LAYERS - 1) * HIDDEN * 4 * HIDDEN + HIDDEN * EVENTS  # first input: a table
NUM_READS, NUM_TRIES = 200, 20


def measure() -> benchmark.Report:
    """All contestants at each batch size, and the time that reading or arithmetic takes alone."""
    rates = machine.measure()
    weight_bytes = NUM_WEIGHTS * jnp.dtype(_DTYPE.value).itemsize
    read = read_bytes_per_second(weight_bytes)
    flops = getattr(rates, f"{_DTYPE.value}_flops")
    lines = [f"{_DTYPE.value}, top_p {_TOP_P.value:g}"]
    cases = {}
    for batch_size, num_steps in STEPS_BY_BATCH_SIZE.items():
        results = turns.run(
            _contestants(batch_size, num_steps),
            benchmark.NUM_ROUNDS.value,
            benchmark.environment(),
        )
        seconds = batch_size / results[0].units_per_second
        reading, arithmetic = weight_bytes / read, 2 * batch_size * NUM_WEIGHTS / flops
        lines.append(f"Batch {batch_size}\n\n{turns.table(results, 'events')}")
        lines.append(
            f"A step of midijax takes {1000 * seconds:.3f} ms. Floor: to read "
            f"{weight_bytes / 1e6:.1f} MB of weights takes {reading / seconds:.0%} of that at the "
            f"{read / 1e9:.0f} GB/s of a matrix of this size times a vector, again and again, and "
            f"{weight_bytes / rates.read_bytes / seconds:.0%} at the {rates.read_bytes / 1e9:.0f} "
            f"GB/s of 256 MiB summed up; the matrix products take {arithmetic / seconds:.0%} of it "
            f"at {flops / 1e9:,.0f} GFLOP/s."
        )
        cases[batch_size] = {
            "seconds_per_step": seconds,
            "floor_seconds": {"reading": reading, "arithmetic": arithmetic},
            "results": [result._asdict() for result in results],
        }
    figures = {
        "settings": {"dtype": _DTYPE.value, "top_p": _TOP_P.value},
        "rates": {**rates._asdict(), "weights_read_bytes": read},
        "by_batch_size": cases,
    }
    return benchmark.Report("\n\n".join(lines), figures)


def _contestants(batch_size: int, num_steps: int) -> list[Contestant]:
    settings = {
        "dtype": _DTYPE.value,
        "top_p": _TOP_P.value,
        "batch_size": batch_size,
        "num_steps": num_steps,
    }
    contestants = [Contestant("midijax", "midijax_generation.py", settings)]
    if python := benchmark.PEERS_PYTHON.value:
        for form, mode in PEERS:
            peer = {**settings, "form": form, "compiled": mode == "compiled"}
            name = f"PyTorch {form}, {mode}"
            contestants.append(Contestant(name, "torch_generation.py", peer, python))
    return contestants


def read_bytes_per_second(num_bytes: int) -> float:
    """The best rate of a product of a float32 matrix of this size and a vector, again and again.

    What fits in a processor's last cache is read from there, as a generator's weights are.
    """
    matrix = jnp.ones((num_bytes // (4 * HIDDEN), HIDDEN))

    @jax.jit
    def read(matrix: jax.Array, vector_H: jax.Array) -> jax.Array:
        def product(_: int, vector_H: jax.Array) -> jax.Array:
            return (matrix @ vector_H)[:HIDDEN] / HIDDEN

        return jax.lax.fori_loop(0, NUM_READS, product, vector_H)

    times = []
    for _ in range(NUM_TRIES):
        start = time.perf_counter()
        read(matrix, jnp.ones(HIDDEN)).block_until_ready()
        times.append(time.perf_counter() - start)
    return NUM_READS * matrix.nbytes / min(times)


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
