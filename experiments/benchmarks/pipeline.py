"""How many events a second the input pipeline makes, beside what the training step takes.

Batches of 64 windows of 256 events are cut, transposed, stretched and tokenized on the fly; the
step is the paper's model (413 events, 3 x 512) on batches of that shape. Quiet the machine first.

    python experiments/benchmarks/pipeline.py --data=runs/data/maestro-v3
"""

import benchmark
import machine
import turns
from absl import flags
from turns import Contestant

from midijax import cli, corpus
from midijax.errors import UserError

_DATA = flags.DEFINE_string(
    "data", None, "Prepared corpus to make batches of.", flag_values=benchmark.FLAGS
)
DTYPES = ("float32", "bfloat16")
SHAPE = {"batch_size": 64, "num_steps": 256}
BYTES_PER_EVENT = 4


def measure() -> benchmark.Report:
    """The pipeline and the step in both types."""
    if not _DATA.value:
        raise UserError("--data is needed: a prepared corpus")
    folder = cli.path(_DATA.value)
    corpus.read_manifest(folder)
    contestants = [
        Contestant("input pipeline", "midijax_pipeline.py", {**SHAPE, "data": str(folder)}),
        *(
            Contestant(f"training step, {dtype}", "midijax_training.py", {**SHAPE, "dtype": dtype})
            for dtype in DTYPES
        ),
    ]
    rates = machine.measure()
    results = turns.run(contestants, benchmark.NUM_ROUNDS.value, benchmark.environment())
    pipeline, *steps = results
    per_core = pipeline.units_per_second / pipeline.processor_share
    appetites = [per_core / step.units_per_second for step in steps]
    floor = rates.read_bytes / BYTES_PER_EVENT
    told = " and ".join(
        f"{times:.0f} times what the step takes in {dtype}"
        for times, dtype in zip(appetites, DTYPES, strict=True)
    )
    markdown = (
        f"{turns.table(results, 'events')}\n\n"
        f"A core's worth of the pipeline makes {per_core:,.0f} events/s: {told}. "
        f"Floor: the machine passes {floor:,.0f} events/s of {BYTES_PER_EVENT} bytes through "
        f"memory; the pipeline reaches {pipeline.units_per_second / floor:.3%} of that."
    )
    figures = {
        "settings": SHAPE,
        "rates": rates._asdict(),
        "events_per_second_per_core": per_core,
        "times_the_step": dict(zip(DTYPES, appetites, strict=True)),
        "floor_events_per_second": floor,
        "results": [result._asdict() for result in results],
    }
    return benchmark.Report(markdown, figures)


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
