"""Shows how far the recurrent core's gradients are from a plain scan's, at the paper's size.

One layer of 512 units on 64 sequences of 256 steps. The truth is what JAX derives from a plain
`lax.scan` in float64; each way of computing is held against it, the plain one in float32 too:

    python experiments/checks/compare_gradients.py
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from midijax import lstm

BATCH_SIZE, NUM_STEPS, HIDDEN = 64, 256, 512
NAMES = ("input weights", "recurrent weights", "bias", "inputs", "first c", "first h")


def plain(weights: lstm.Weights, x_TxBxD: jax.Array, carry: lstm.Carry) -> tuple[Any, lstm.Carry]:
    """The layer as a scan of single steps, its gradients left to JAX."""

    def step(carry: lstm.Carry, x_BxD: jax.Array) -> tuple[lstm.Carry, jax.Array]:
        c_BxH, h_BxH = carry
        gates = x_BxD @ weights.input_DxG + h_BxH @ weights.recurrent_HxG + weights.bias_G
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        c_BxH = jax.nn.sigmoid(f) * c_BxH + jax.nn.sigmoid(i) * jnp.tanh(g)
        h_BxH = jax.nn.sigmoid(o) * jnp.tanh(c_BxH)
        return (c_BxH, h_BxH), h_BxH

    carry, h_TxBxH = jax.lax.scan(step, carry, x_TxBxD)
    return h_TxBxH, carry


def gradients(run: Callable[..., Any], problem: tuple) -> list[np.ndarray]:
    """Of the mean square distance of all outputs to fixed random targets."""
    targets = np.random.default_rng(1).normal(size=(NUM_STEPS, BATCH_SIZE, HIDDEN))

    def loss(*problem: Any) -> jax.Array:
        outputs, _ = run(*problem)
        return jnp.square(outputs - targets.astype(outputs.dtype)).mean()

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(*problem)
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(slopes)]


def draw(dtype: Any) -> tuple[lstm.Weights, jax.Array, lstm.Carry]:
    """Weights as they are drawn before training, unit inputs, and a first carry."""
    rng = np.random.default_rng(0)
    shapes = [(HIDDEN, 4 * HIDDEN)] * 2 + [(4 * HIDDEN,)]
    weights = [rng.normal(size=shape) / HIDDEN**0.5 for shape in shapes]
    x_TxBxD = rng.normal(size=(NUM_STEPS, BATCH_SIZE, HIDDEN))
    carry = rng.normal(size=(2, BATCH_SIZE, HIDDEN)) / 2
    problem = lstm.Weights(*weights), x_TxBxD, (carry[0], carry[1])
    return jax.tree.map(lambda a: jnp.asarray(a.astype(np.float32), dtype), problem)


def main() -> None:
    """Prints one row for each way of computing."""
    with jax.enable_x64(True):
        truth = gradients(plain, draw(jnp.float64))
    ways = {"plain scan, float32": plain}
    for dtype in (jnp.float32, jnp.bfloat16):
        for remat in (False, True):
            name = f"midijax, {jnp.dtype(dtype).name}{', remat' * remat}"
            ways[name] = functools.partial(lstm.lstm, dtype=dtype, remat=remat)
    print(
        f"| relative error of the gradient of | {' | '.join(NAMES)} |\n|---|" + "---|" * len(NAMES)
    )
    for name, run in ways.items():
        pairs = zip(gradients(run, draw(jnp.float32)), truth, strict=True)
        errors = [np.linalg.norm(ours - true) / np.linalg.norm(true) for ours, true in pairs]
        print(f"| {name} | {' | '.join(f'{error:.1e}' for error in errors)} |")


if __name__ == "__main__":
    main()
