"""Performances by midijax, as `midijax.sample` has them played."""

import itertools

import jax
import serve

from midijax import model
from midijax.config import Config, ModelConfig
from midijax.generate import Length, generate
from midijax.sampling import SamplingSettings

settings = serve.settings()
config = Config(model=ModelConfig(num_layers=3, hidden_size=512, dtype=settings["dtype"]))
params = model.init(model.from_config(config), jax.random.key(0))
length = Length(num_events=settings["num_steps"])
sampling = SamplingSettings(top_p=settings["top_p"])
seeds = itertools.count()


def work() -> int:
    """One batch of performances."""
    key = jax.random.key(next(seeds))
    generate(params, key, config, length, sampling, settings["batch_size"])
    return settings["batch_size"] * settings["num_steps"]


serve.serve(work)
