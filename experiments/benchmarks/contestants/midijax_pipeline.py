"""Augmented training batches of midijax, as `midijax.train` takes them."""

import serve

from midijax import input_pipeline
from midijax.config import Config, DataConfig
from midijax.events import PAD

settings = serve.settings()
data = DataConfig(batch_size=settings["batch_size"], sequence_length=settings["num_steps"])
batches = input_pipeline.training_batches(settings["data"], Config(data=data))
NUM_BATCHES = 200


def work() -> int:
    """Takes batches; returns the events in them."""
    return sum(int((next(batches).targets_BxT != PAD).sum()) for _ in range(NUM_BATCHES))


serve.serve(work)
