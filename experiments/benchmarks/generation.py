"""How fast an untrained model of the paper's size (413 events, 3 x 512) plays, as a Markdown table.

Command: python experiments/benchmarks/generation.py
"""

import itertools
import statistics
import time
from typing import Any

import jax

from midijax import model
from midijax.config import Config, ModelConfig
from midijax.generate import Length, generate

DTYPES = ("float32", "bfloat16")
EVENTS_BY_BATCH_SIZE = {1: 512, 8: 256, 64: 64}
NUM_ROUNDS = 7


def measure(batch_size: int, dtype: str, params: Any, seed: int) -> tuple[float, float]:
    """Wall-clock and processor seconds that one batch takes."""
    config = Config(model=ModelConfig(dtype=dtype))
    length = Length(num_events=EVENTS_BY_BATCH_SIZE[batch_size])
    key = jax.random.key(seed)
    wall, processor = time.perf_counter(), time.process_time()
    generate(params, key, config, length, num_performances=batch_size)
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> None:
    """Measures the cases in turn, round after round, so that a busy spell meets them all."""
    params = model.init(model.from_config(Config()), jax.random.key(0))
    cases = list(itertools.product(EVENTS_BY_BATCH_SIZE, DTYPES))
    rounds = [[measure(*case, params, seed) for case in cases] for seed in range(NUM_ROUNDS + 1)]
    print("| performances at once | dtype | events/s | CPU ms per step |\n|---|---|---|---|")
    for index, (batch_size, dtype) in enumerate(cases):
        warm = [times[index] for times in rounds[1:]]  # the first round compiles
        wall, processor = map(statistics.median, zip(*warm, strict=True))
        steps = EVENTS_BY_BATCH_SIZE[batch_size]
        speed, cost = batch_size * steps / wall, 1000 * processor / steps
        print(f"| {batch_size} | {dtype} | {speed:,.0f} | {cost:.2f} |")


if __name__ == "__main__":
    main()
