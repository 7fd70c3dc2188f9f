"""The recurrent core: one LSTM layer over time, with a backward pass of its own.

Shapes: T time, B batch, D input features, C side features, H hidden units, G = 4H gates in the
order i, f, g, o; the sequence is worked through in N segments of S steps, T = N * S.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

Carry = tuple[jax.Array, jax.Array]  # (c_BxH, h_BxH), as in Flax
_Inputs = tuple[jax.Array, jax.Array | None]  # x_TxBxD and side_TxBxC
# Rows S * B of a segment on each device. A CPU multiplies no faster with more, and keeps these in
# its cache; accelerators want few, large products, and devices to add up their gradients seldom.
CPU_ROWS, ACCELERATOR_ROWS = 2**10, 2**16
ACCELERATOR_UNROLL = 8  # steps per turn of a loop: a seventh faster on a GPU than one
CPU_BFLOAT16_SUM = 2**10  # terms per product, see `_matmul_in_parts`


class Weights(NamedTuple):
    """One layer's parameters; `side_CxG` is None where there is no side input."""

    input_DxG: jax.Array
    recurrent_HxG: jax.Array
    bias_G: jax.Array
    side_CxG: jax.Array | None = None


class Gates(NamedTuple):
    """Input, forget, cell and output gates after activation, each (..., H)."""

    i: jax.Array
    f: jax.Array
    g: jax.Array
    o: jax.Array


class _States(NamedTuple):
    """What a step leaves for the backward pass: h and c after it, (..., B, H), and its gates."""

    h: jax.Array
    c: jax.Array
    gates: Gates | None


def lstm(
    weights: Weights,
    x_TxBxD: jax.Array,
    carry: Carry,
    dtype: Any = jnp.float32,
    remat: bool = False,
    side_TxBxC: jax.Array | None = None,
) -> tuple[jax.Array, Carry]:
    """Runs one LSTM layer (Hochreiter & Schmidhuber 1997, with forget gates) over a sequence.

        i, f, g, o = split(x_t @ input + side_t @ side + h @ recurrent + bias)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    Only what truly depends on the step before is done step by step. Inputs are projected, and
    gradients of weights and inputs taken, for a whole segment of steps in one product each.

    Args:
      weights: the layer's parameters, float32.
      x_TxBxD: inputs, float32; or int (T, B), each the index of the 1 in a one-hot vector.
      carry: (c_BxH, h_BxH) before the first step, float32.
      dtype: operand type of the matrix products, float32 or bfloat16, and of what is kept for
        gradients; sums, gates and the carry are float32 in either case.
      remat: for gradients, keep of every step 2H numbers (h, c) and not 6H (the gates too), which
        the backward pass then computes anew, a segment at a time.
      side_TxBxC: further inputs beside x, float32, or None.

    Returns:
      The outputs h_TxBxH, rounded to dtype, and the carry after the last step; both float32.
    """
    return _lstm(jnp.dtype(dtype), remat, weights, (x_TxBxD, side_TxBxC), carry)


def project(weights: Weights, x: jax.Array, dtype: Any, side: jax.Array | None = None) -> jax.Array:
    """What inputs (..., D), or one-hot indices (...), and side inputs give the gates, (..., G)."""
    if _is_one_hot(x):
        gates = weights.input_DxG[x] + weights.bias_G
    else:
        gates = matmul(x, weights.input_DxG, dtype) + weights.bias_G
    if side is None or weights.side_CxG is None:
        return gates
    return gates + matmul(side, weights.side_CxG, dtype)


def advance(
    recurrent_HxG: jax.Array, projected_BxG: jax.Array, carry: Carry, dtype: Any
) -> tuple[Carry, Gates]:
    """One step from projected inputs: the next carry, and the gates that led to it."""
    c_BxH, h_BxH = carry
    return update(projected_BxG + matmul(h_BxH, recurrent_HxG, dtype), c_BxH)


def update(gates_BxG: jax.Array, c_BxH: jax.Array) -> tuple[Carry, Gates]:
    """The cell: from gates before activation and c to the next carry, and the gates activated."""
    gates = _activate(gates_BxG)
    c_BxH = gates.f * c_BxH + gates.i * gates.g
    return (c_BxH, gates.o * jnp.tanh(c_BxH)), gates


def matmul(a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """Product over the last axis of `a` and the first of `b`, summed in float32 or better."""
    sums = jnp.promote_types(dtype, jnp.float32)
    return jnp.tensordot(a.astype(dtype), b.astype(dtype), axes=1, preferred_element_type=sums)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _unroll() -> int:
    return 1 if _on_cpu() else ACCELERATOR_UNROLL


def _is_one_hot(x: jax.Array) -> bool:
    return jnp.issubdtype(x.dtype, jnp.integer)


def _activate(gates_G: jax.Array) -> Gates:
    i, f, g, o = jnp.split(gates_G, 4, axis=-1)
    return Gates(jax.nn.sigmoid(i), jax.nn.sigmoid(f), jnp.tanh(g), jax.nn.sigmoid(o))


def _forward(
    dtype: jnp.dtype, remat: bool, weights: Weights, inputs_T: _Inputs, carry: Carry
) -> tuple[tuple[jax.Array, Carry], tuple]:
    """The outputs and the last carry, and what `_backward` needs."""
    inputs_NxS = jax.tree.map(_segments, inputs_T)
    recurrent_HxG = weights.recurrent_HxG.astype(dtype)

    def step(carry: Carry, projected_BxG: jax.Array) -> tuple[Carry, _States]:
        (c_BxH, h_BxH), gates = advance(recurrent_HxG, projected_BxG, carry, dtype)
        return (c_BxH, h_BxH), _pack(_States(h_BxH, c_BxH, None if remat else gates), dtype)

    def segment(carry: Carry, inputs_S: _Inputs) -> tuple[Carry, _States]:
        x_SxBxD, side_SxBxC = inputs_S
        projected_SxBxG = project(weights, x_SxBxD, dtype, side_SxBxC)
        return jax.lax.scan(step, carry, projected_SxBxG, unroll=_unroll())

    carry_after, states_NxS = jax.lax.scan(segment, carry, inputs_NxS)
    h_TxBxH = _join(_unpack(states_NxS.h))
    return (h_TxBxH, carry_after), (weights, _pack(inputs_NxS, dtype), carry, states_NxS)


def _backward(
    dtype: jnp.dtype, remat: bool, saved: tuple, cotangents: tuple[jax.Array, Carry]
) -> tuple[Weights, tuple[jax.Array | None, jax.Array | None], Carry]:
    """The gradients of weights, inputs and first carry."""
    weights, inputs_NxS, (c0_BxH, h0_BxH), states_NxS = saved
    dh_TxBxH, dcarry = cotangents
    recurrent_GxH = weights.recurrent_HxG.T.astype(dtype)
    input_GxD = weights.input_DxG.T.astype(dtype)

    def segment(sums: tuple[Carry, Weights], segment: tuple) -> tuple[Any, tuple]:
        dcarry, (dinput_DxG, drecurrent_HxG, dbias_G, dside_CxG) = sums
        (x, side), states, (first_c_BxH, first_h_BxH), dh_SxBxH = _unpack(segment)
        h_before = jnp.concatenate((first_h_BxH[None], states.h[:-1]))
        c_before = jnp.concatenate((first_c_BxH[None], states.c[:-1]))
        if remat:
            gates_SxBxG = project(weights, x, dtype, side)
            gates_SxBxG += matmul(h_before, weights.recurrent_HxG, dtype)
            states = states._replace(gates=_activate(gates_SxBxG))
        dcarry, dgates = _retreat(recurrent_GxH, states, c_before, dh_SxBxH, dcarry, dtype)
        if _is_one_hot(x):
            dx, dinput_DxG = None, dinput_DxG.at[x].add(dgates)
            drecurrent_HxG += _over_time(h_before, dgates, dtype)
        else:
            dx = matmul(dgates, input_GxD, dtype)
            both = _over_time(jnp.concatenate((x, h_before), axis=-1), dgates, dtype)
            dinput_DxG += both[: len(dinput_DxG)]
            drecurrent_HxG += both[len(dinput_DxG) :]
        dside = None
        if side is not None and dside_CxG is not None:
            dside = matmul(dgates, jnp.asarray(weights.side_CxG).T, dtype)
            dside_CxG += _over_time(side, dgates, dtype)
        dbias_G += dgates.sum((0, 1))
        return (dcarry, Weights(dinput_DxG, drecurrent_HxG, dbias_G, dside_CxG)), (dx, dside)

    first_carry_N = (
        jnp.concatenate((_pack(c0_BxH, dtype)[None], states_NxS.c[:-1, -1])),
        jnp.concatenate((_pack(h0_BxH, dtype)[None], states_NxS.h[:-1, -1])),
    )
    dh_NxSxBxH = dh_TxBxH.reshape(states_NxS.h.shape)
    (dcarry, dweights), dinputs_NxS = jax.lax.scan(
        segment,
        (dcarry, jax.tree.map(jnp.zeros_like, weights)),
        (inputs_NxS, states_NxS, first_carry_N, dh_NxSxBxH),
        reverse=True,
    )
    return dweights, jax.tree.map(_join, dinputs_NxS), dcarry


def _retreat(
    recurrent_GxH: jax.Array,
    states: _States,
    c_before: jax.Array,
    dh_SxBxH: jax.Array,
    dcarry: Carry,
    dtype: jnp.dtype,
) -> tuple[Carry, jax.Array]:
    """Back through one segment: the gradients of its first carry, and of its gates, SxBxG."""
    assert states.gates is not None
    i, f, g, o = states.gates
    tanh_c = jnp.tanh(states.c)
    # What each gate's gradient is per unit of dc (i, f, g) or dh (o); none depends on the scan.
    per_dc_SxBx3H = jnp.concatenate(
        (g * i * (1 - i), c_before * f * (1 - f), i * (1 - g * g)), axis=-1
    )
    per_dh_SxBxH = tanh_c * o * (1 - o)
    dc_per_dh_SxBxH = o * (1 - tanh_c * tanh_c)

    def step(carry: Carry, step: tuple[jax.Array, ...]) -> tuple[Carry, jax.Array]:
        dc_BxH, dh_BxH = carry
        dh_out, per_dc, per_dh, dc_per_dh, f = step
        dh_BxH = dh_BxH + dh_out
        dc_BxH = dc_BxH + dh_BxH * dc_per_dh
        dgates_BxG = jnp.concatenate((jnp.tile(dc_BxH, 3) * per_dc, dh_BxH * per_dh), axis=-1)
        return (dc_BxH * f, _matmul_in_parts(dgates_BxG, recurrent_GxH, dtype)), dgates_BxG

    steps = (dh_SxBxH, per_dc_SxBx3H, per_dh_SxBxH, dc_per_dh_SxBxH, f)
    return jax.lax.scan(step, dcarry, steps, reverse=True, unroll=_unroll())


def _over_time(a_SxBxM: jax.Array, b_SxBxN: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """Sum over time and batch of the outer products of `a` and `b`, (M, N).

    Time and batch stay apart: merged, a batch divided over devices would have to be gathered. The
    barrier has `a` turned beforehand: XLA's CPU product of bfloat16 is far slower on what it turns
    itself.
    """
    a_MxSxB = jax.lax.optimization_barrier(a_SxBxM.astype(dtype).transpose(2, 0, 1))
    return jax.lax.dot_general(
        a_MxSxB,
        b_SxBxN.astype(dtype),
        (((1, 2), (0, 1)), ((), ())),
        preferred_element_type=jnp.promote_types(dtype, jnp.float32),
    )


def _matmul_in_parts(a: jax.Array, b: jax.Array, dtype: jnp.dtype) -> jax.Array:
    """`matmul`; with few rows, XLA's CPU product of bfloat16 is far slower on longer sums."""
    if dtype != jnp.bfloat16 or not _on_cpu():
        return matmul(a, b, dtype)
    parts = [slice(i, i + CPU_BFLOAT16_SUM) for i in range(0, len(b), CPU_BFLOAT16_SUM)]
    return functools.reduce(jnp.add, (matmul(a[:, part], b[part], dtype) for part in parts))


def _pack(tree: Any, dtype: jnp.dtype) -> Any:
    """Arrays as they are kept for the backward pass: in `dtype`, bfloat16 as its 16 bits.

    As bits because XLA's CPU loops take bfloat16 to float32 and back, whole arrays at every step.
    """

    def pack(x: jax.Array) -> jax.Array:
        if _is_one_hot(x):
            return x.astype(jnp.int32)
        if dtype != jnp.bfloat16:
            return x
        return jax.lax.bitcast_convert_type(x.astype(dtype), jnp.uint16)

    return jax.tree.map(pack, tree)


def _unpack(tree: Any) -> Any:
    """What `_pack` packed, as float32."""

    def unpack(x: jax.Array) -> jax.Array:
        if x.dtype != jnp.uint16:
            return x
        return jax.lax.bitcast_convert_type(x, jnp.bfloat16).astype(jnp.float32)

    return jax.tree.map(unpack, tree)


def _segments(x_TxB: jax.Array) -> jax.Array:
    """(T, B, ...) as (N, S, B, ...): the longest segments of equal length with few enough rows."""
    num_steps, batch_size = x_TxB.shape[:2]
    rows = (CPU_ROWS if _on_cpu() else ACCELERATOR_ROWS) * jax.device_count()
    longest = min(num_steps, max(1, rows // batch_size))
    steps = next(size for size in range(longest, 0, -1) if num_steps % size == 0)
    return x_TxB.reshape(-1, steps, *x_TxB.shape[1:])


def _join(x_NxSxB: jax.Array) -> jax.Array:
    """(N, S, B, ...) as (T, B, ...)."""
    return x_NxSxB.reshape(-1, *x_NxSxB.shape[2:])


_lstm = jax.custom_vjp(lambda *args: _forward(*args)[0], nondiff_argnums=(0, 1))
_lstm.defvjp(_forward, _backward)
