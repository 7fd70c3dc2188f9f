"""The recurrent core: one LSTM layer over time, with a backward pass of its own.

Shapes: T time, B batch, D input features, H hidden units, G = 4H gates in the order i, f, g, o.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Carry = tuple[jax.Array, jax.Array]  # (c_BxH, h_BxH), as in Flax


class Weights(NamedTuple):
    """One layer's parameters."""

    input_DxG: jax.Array
    recurrent_HxG: jax.Array
    bias_G: jax.Array


def lstm(
    weights: Weights, x_TxBxD: jax.Array, carry: Carry, dtype: Any = jnp.float32
) -> tuple[jax.Array, Carry]:
    """Runs one LSTM layer (Hochreiter & Schmidhuber 1997, with forget gates) over a sequence.

        i, f, g, o = split(x_t @ input + h @ recurrent + bias)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    All inputs are projected in one product before the scan, and all weight gradients are products
    over the whole sequence after it: only what truly depends on the step before stays inside.

    Args:
      weights: the layer's parameters, float32.
      x_TxBxD: inputs, float32.
      carry: (c_BxH, h_BxH) before the first step, float32.
      dtype: operand type of the matrix products, float32 or bfloat16; sums, gates and the carry are
        float32 in either case.

    Returns:
      The outputs h_TxBxH and the carry after the last step, float32.
    """
    return _lstm(jnp.dtype(dtype), weights, x_TxBxD, carry)


def project(weights: Weights, x: jax.Array, dtype: Any) -> jax.Array:
    """What inputs (..., D) add to the gates, (..., G): x @ input + bias."""
    return matmul(x, weights.input_DxG, dtype) + weights.bias_G


def advance(
    recurrent_HxG: jax.Array, projected_BxG: jax.Array, carry: Carry, dtype: Any
) -> tuple[Carry, jax.Array]:
    """One step from projected inputs: the next carry, and the gates before activation, BxG."""
    c_BxH, h_BxH = carry
    gates_BxG = projected_BxG + matmul(h_BxH, recurrent_HxG, dtype)
    i, f, g, o = _activate(gates_BxG)
    c_BxH = f * c_BxH + i * g
    return (c_BxH, o * jnp.tanh(c_BxH)), gates_BxG


def matmul(a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """Product over the last axis of `a` and the first of `b`, summed in float32 or better."""
    sums = jnp.promote_types(dtype, jnp.float32)
    return jnp.tensordot(a.astype(dtype), b.astype(dtype), axes=1, preferred_element_type=sums)


def _over_time(a_TxBxM: jax.Array, b_TxBxN: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Sum over time and batch of the outer products of `a` and `b`, (M, N).

    Time and batch stay apart: merged, a batch divided over devices would have to be gathered.
    """
    time_and_batch = ((0, 1), (0, 1))
    return jax.lax.dot_general(
        a_TxBxM.astype(dtype),
        b_TxBxN.astype(dtype),
        (time_and_batch, ((), ())),
        preferred_element_type=jnp.promote_types(dtype, jnp.float32),
    )


def _activate(gates_G: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    i, f, g, o = jnp.split(gates_G, 4, axis=-1)
    return jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o)


def _scan_forward(
    dtype: jnp.dtype, weights: Weights, x_TxBxD: jax.Array, carry: Carry
) -> tuple[Carry, tuple[jax.Array, jax.Array, jax.Array]]:
    """The carry after the last step, and of every step h, c and the gates before activation."""
    projected_TxBxG = project(weights, x_TxBxD, dtype)
    recurrent_HxG = weights.recurrent_HxG.astype(dtype)

    def step(carry: Carry, projected_BxG: jax.Array) -> tuple[Carry, Any]:
        (c_BxH, h_BxH), gates_BxG = advance(recurrent_HxG, projected_BxG, carry, dtype)
        return (c_BxH, h_BxH), (h_BxH, c_BxH, gates_BxG)

    return jax.lax.scan(step, carry, projected_TxBxG)


def _forward(
    dtype: jnp.dtype, weights: Weights, x_TxBxD: jax.Array, carry: Carry
) -> tuple[tuple[jax.Array, Carry], tuple]:
    """The outputs and the last carry, and what `_backward` needs."""
    carry_after, (h_TxBxH, c_TxBxH, gates_TxBxG) = _scan_forward(dtype, weights, x_TxBxD, carry)
    return (h_TxBxH, carry_after), (weights, x_TxBxD, carry, h_TxBxH, c_TxBxH, gates_TxBxG)


def _backward(
    dtype: jnp.dtype, saved: tuple, cotangents: tuple[jax.Array, Carry]
) -> tuple[Weights, jax.Array, Carry]:
    """The gradients of weights, inputs and first carry."""
    weights, x_TxBxD, (c0_BxH, h0_BxH), h_TxBxH, c_TxBxH, gates_TxBxG = saved
    dh_TxBxH, (dc_BxH, dh_last_BxH) = cotangents
    h_before_TxBxH = jnp.concatenate((h0_BxH[None], h_TxBxH[:-1]))
    c_before_TxBxH = jnp.concatenate((c0_BxH[None], c_TxBxH[:-1]))
    i, f, g, o = _activate(gates_TxBxG)
    tanh_c = jnp.tanh(c_TxBxH)
    # What each gate's gradient is per unit of dc (i, f, g) or dh (o); none depends on the scan.
    per_dc_TxBx3H = jnp.concatenate(
        (g * i * (1 - i), c_before_TxBxH * f * (1 - f), i * (1 - g * g)), axis=-1
    )
    per_dh_TxBxH = tanh_c * o * (1 - o)
    dc_per_dh_TxBxH = o * (1 - tanh_c * tanh_c)
    recurrent_GxH = weights.recurrent_HxG.T.astype(dtype)

    def retreat(carry: Carry, step: tuple[jax.Array, ...]) -> tuple[Carry, jax.Array]:
        dc_BxH, dh_BxH = carry
        dh_out, per_dc, per_dh, dc_per_dh, f = step
        dh_BxH = dh_BxH + dh_out
        dc_BxH = dc_BxH + dh_BxH * dc_per_dh
        dgates_BxG = jnp.concatenate((jnp.tile(dc_BxH, 3) * per_dc, dh_BxH * per_dh), axis=-1)
        return (dc_BxH * f, matmul(dgates_BxG, recurrent_GxH, dtype)), dgates_BxG

    steps = (dh_TxBxH, per_dc_TxBx3H, per_dh_TxBxH, dc_per_dh_TxBxH, f)
    dcarry, dgates_TxBxG = jax.lax.scan(retreat, (dc_BxH, dh_last_BxH), steps, reverse=True)
    dweights = Weights(
        input_DxG=_over_time(x_TxBxD, dgates_TxBxG, dtype),
        recurrent_HxG=_over_time(h_before_TxBxH, dgates_TxBxG, dtype),
        bias_G=dgates_TxBxG.sum((0, 1)),
    )
    dx_TxBxD = matmul(dgates_TxBxG, weights.input_DxG.T, dtype)
    return dweights, dx_TxBxD, dcarry


_lstm = jax.custom_vjp(lambda *args: _forward(*args)[0], nondiff_argnums=(0,))
_lstm.defvjp(_forward, _backward)
