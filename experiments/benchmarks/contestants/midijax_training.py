"""Training steps of midijax, as `midijax.train` takes them."""

import jax
import numpy as np
import serve

from midijax import model, train_step
from midijax.batches import Batch
from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig

settings = serve.settings()
config = Config(
    model=ModelConfig(
        num_layers=settings.get("num_layers", 3),
        hidden_size=settings.get("hidden_size", 512),
        dropout_rate=0.0,
        dtype=settings["dtype"],
        remat=settings.get("remat", False),
    ),
    data=DataConfig(batch_size=settings["batch_size"], sequence_length=settings["num_steps"]),
    optimizer=OptimizerConfig(name="adam", clip_norm=3.0),
)
network = model.from_config(config)
mesh = train_step.data_mesh()
state = train_step.initial_state(config, network, mesh)
steps = train_step.make_train_steps(config, network, mesh)
shape = (settings.get("dispatch", 1), settings["batch_size"], settings["num_steps"])
tokens_KxBxT = np.random.default_rng(0).integers(0, 413, shape, np.int32)
batches = [Batch.of(tokens_BxT, network.start) for tokens_BxT in tokens_KxBxT]
batches_K = jax.tree.map(lambda *leaves: jax.numpy.asarray(np.stack(leaves)), *batches)


def work() -> int:
    """One dispatch."""
    global state
    state, report = steps(state, batches_K, 1)
    jax.block_until_ready((state, report))
    return tokens_KxBxT.size


serve.serve(work)
