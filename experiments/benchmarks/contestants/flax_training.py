"""The same training step by Flax's own recurrence: nn.RNN over OptimizedLSTMCell, three layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import serve
from flax import linen as nn

settings = serve.settings()
dtype = jnp.dtype(settings["dtype"])
shape = (settings["batch_size"], settings["num_steps"])
tokens_BxT = np.random.default_rng(0).integers(0, 413, shape, np.int32)
inputs_BxT = np.pad(tokens_BxT[:, :-1], ((0, 0), (1, 0)), constant_values=413)


class Network(nn.Module):
    """Embedding, three LSTM layers, head."""

    @nn.compact
    def __call__(self, inputs_BxT: jax.Array) -> jax.Array:
        """Logits."""
        x_BxTxH = nn.Embed(414, 512)(inputs_BxT)
        for _ in range(3):
            x_BxTxH = nn.RNN(nn.OptimizedLSTMCell(512, dtype=dtype))(x_BxTxH)
        return nn.Dense(413, dtype=dtype)(x_BxTxH).astype(jnp.float32)


network = Network()
transform = optax.chain(optax.clip_by_global_norm(3.0), optax.adam(1e-3))


@jax.jit
def initial_state() -> tuple[Any, Any]:
    """Parameters and optimizer state."""
    params = network.init(jax.random.key(0), inputs_BxT[:1])
    return params, transform.init(params)


@jax.jit(donate_argnums=0)
def step(state: tuple[Any, Any]) -> tuple[Any, Any]:
    """The state after one more step."""

    def loss(params: Any) -> jax.Array:
        logits_BxTxV = network.apply(params, inputs_BxT)
        nats = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BxTxV, tokens_BxT)
        return nats.mean()

    params, optimizer_state = state
    updates, optimizer_state = transform.update(jax.grad(loss)(params), optimizer_state)
    return optax.apply_updates(params, updates), optimizer_state


state = initial_state()


def work() -> int:
    """One step."""
    global state
    state = jax.block_until_ready(step(state))
    return tokens_BxT.size


serve.serve(work)
