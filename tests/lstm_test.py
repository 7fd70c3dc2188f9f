import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from midijax import lstm

T, B, D, H = 8, 3, 5, 4
GATES = "ifgo"


@pytest.fixture(params=[1, 4, T], ids="segments of {}".format)
def segment_steps(request, monkeypatch):
    monkeypatch.setattr(lstm, "CPU_ROWS", request.param * B + B - 1)
    return request.param


@pytest.fixture
def problem(segment_steps):
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(rng.normal(size=shape) * 0.5, jnp.float32)

    weights = lstm.Weights(draw(D, 4 * H), draw(H, 4 * H), draw(4 * H))
    return weights, draw(T, B, D), (draw(B, H), draw(B, H))


def flax_lstm(weights, x_TxBxD, carry):
    """The same layer by Flax's LSTMCell, one step at a time."""
    inputs, recurrents = (jnp.split(w, 4, axis=1) for w in weights[:2])
    biases = jnp.split(weights.bias_G, 4)
    params = {f"i{g}": {"kernel": w} for g, w in zip(GATES, inputs, strict=True)}
    params |= {
        f"h{g}": {"kernel": w, "bias": b} for g, w, b in zip(GATES, recurrents, biases, strict=True)
    }
    cell = nn.LSTMCell(H)
    outputs = []
    for x_BxD in x_TxBxD:
        carry, h_BxH = cell.apply({"params": params}, carry, x_BxD)
        outputs.append(h_BxH)
    return jnp.stack(outputs), carry


def gradients(run, problem, argnums=(0, 1, 2)):
    return jax.jit(jax.grad(scalar(run, weighting()), argnums))(*problem)


def scalar(run, weighting):
    """A loss that depends on every output and on both parts of the last carry."""

    def loss(weights, x_TxBxD, carry):
        outputs, (c, h) = run(weights, x_TxBxD, carry)
        return (outputs * weighting).sum() + (c * c).sum() + jnp.sin(h).sum()

    return loss


def weighting():
    return jnp.asarray(np.random.default_rng(1).normal(size=(T, B, H)), jnp.float32)


def assert_close(actual, expected, tolerance):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


def test_segments_are_as_long_as_their_rows_allow(segment_steps):
    assert lstm._segments(jnp.zeros((T, B, D))).shape == (
        T // segment_steps,
        segment_steps,
        B,
        D,
    )


def test_outputs_are_those_of_flax(problem):
    assert_close(lstm.lstm(*problem), flax_lstm(*problem), 1e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_gradients_are_those_of_flax(problem, remat):
    run = functools.partial(lstm.lstm, remat=remat)
    assert_close(gradients(run, problem), gradients(flax_lstm, problem), 1e-5)


@pytest.mark.parametrize("remat", [False, True])
def test_ids_are_one_hot_rows(problem, remat):
    weights, _, carry = problem
    ids_TxB = jnp.asarray(np.random.default_rng(3).integers(0, D, (T, B)), jnp.uint16)
    run = functools.partial(lstm.lstm, remat=remat)
    by_id, by_row = (weights, ids_TxB, carry), (weights, jax.nn.one_hot(ids_TxB, D), carry)
    assert_close(run(*by_id), flax_lstm(*by_row), 1e-5)
    assert_close(gradients(run, by_id, (0, 2)), gradients(flax_lstm, by_row, (0, 2)), 1e-5)


def test_on_an_accelerator_they_are_the_same(problem, monkeypatch):
    """Longer segments, and loops of several steps to a turn that do not divide them."""
    expected = lstm.lstm(*problem), gradients(lstm.lstm, problem)
    monkeypatch.setattr(lstm, "_on_cpu", lambda: False)
    monkeypatch.setattr(lstm, "ACCELERATOR_UNROLL", 3)
    assert lstm._segments(jnp.zeros((T, B, D))).shape == (1, T, B, D)
    assert_close((lstm.lstm(*problem), gradients(lstm.lstm, problem)), expected, 1e-6)


def test_remat_keeps_less(problem):
    def kept(remat):
        run = functools.partial(lstm.lstm, remat=remat)
        return sum(x.size for x in jax.tree.leaves(jax.vjp(run, *problem)[1]))

    assert kept(False) - kept(True) == T * B * 4 * H


def test_gradients_are_finite_differences(problem):
    with jax.enable_x64(True):
        problem = jax.tree.map(lambda a: jnp.asarray(np.asarray(a, np.float64)), problem)
        run = functools.partial(lstm.lstm, dtype=jnp.float64)
        loss = jax.jit(scalar(run, weighting()))
        leaves, tree = jax.tree.flatten(problem)
        slopes = jax.tree.leaves(gradients(run, problem))
        rng = np.random.default_rng(2)
        for index, (leaf, slope) in enumerate(zip(leaves, slopes, strict=True)):
            move = rng.normal(size=leaf.shape) * 1e-4
            ahead, behind = [*leaves], [*leaves]
            ahead[index], behind[index] = leaf + move, leaf - move
            rise = loss(*jax.tree.unflatten(tree, ahead)) - loss(*jax.tree.unflatten(tree, behind))
            np.testing.assert_allclose(rise, 2 * (slope * move).sum(), rtol=1e-6, atol=1e-9)


def test_a_sequence_in_two_parts_is_the_whole(problem):
    weights, x_TxBxD, carry = problem
    whole = lstm.lstm(weights, x_TxBxD, carry)
    first, between = lstm.lstm(weights, x_TxBxD[:3], carry)
    second, after = lstm.lstm(weights, x_TxBxD[3:], between)
    assert_close((jnp.concatenate((first, second)), after), whole, 1e-6)


def test_no_output_depends_on_a_later_input(problem):
    weights, x_TxBxD, carry = problem
    slopes_TxTxBxD = jax.jit(jax.jacrev(lambda x: lstm.lstm(weights, x, carry)[0].sum((1, 2))))(
        x_TxBxD
    )
    depends_TxT = jnp.abs(slopes_TxTxBxD).sum((2, 3)) > 0
    np.testing.assert_array_equal(depends_TxT, np.tri(T, dtype=bool))


@pytest.mark.parametrize("remat", [False, True])
def test_bfloat16_stays_near_float32_and_returns_float32(problem, remat, monkeypatch):
    monkeypatch.setattr(lstm, "CPU_BFLOAT16_SUM", 2 * H + 1)
    rounded = functools.partial(lstm.lstm, dtype=jnp.bfloat16, remat=remat)
    half = rounded(*problem)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(half))
    assert_close(half, lstm.lstm(*problem), 2e-2)
    approximations, exacts = (gradients(run, problem) for run in (rounded, lstm.lstm))
    for approximate, exact in zip(*map(jax.tree.leaves, (approximations, exacts)), strict=True):
        assert jnp.linalg.norm(approximate - exact) < 2e-2 * jnp.linalg.norm(exact)


@pytest.mark.parametrize("one_hot", [False, True], ids=["dense", "one-hot"])
@pytest.mark.parametrize("remat", [False, True])
def test_side_inputs_are_as_further_inputs(problem, remat, one_hot):
    weights, x_TxBxD, carry = problem
    rng = np.random.default_rng(1)
    side_TxBxC = jnp.asarray(rng.normal(size=(T, B, 2)), jnp.float32)
    side_CxG = jnp.asarray(rng.normal(size=(2, 4 * H)), jnp.float32)
    ids = jnp.asarray(rng.integers(0, D, (T, B)), jnp.int32)
    dense = jax.nn.one_hot(ids, D) if one_hot else x_TxBxD

    def beside(weights, side_CxG, side_TxBxC, carry):
        x = ids if one_hot else x_TxBxD
        return lstm.lstm(
            weights._replace(side_CxG=side_CxG), x, carry, remat=remat, side_TxBxC=side_TxBxC
        )

    def joined(weights, side_CxG, side_TxBxC, carry):
        both = weights._replace(input_DxG=jnp.concatenate((weights.input_DxG, side_CxG)))
        return lstm.lstm(both, jnp.concatenate((dense, side_TxBxC), axis=-1), carry)

    def gradients_of(run):
        def loss(*args):
            outputs, (c, h) = run(*args)
            return (outputs * weighting()).sum() + (c * c).sum() + jnp.sin(h).sum()

        return jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(weights, side_CxG, side_TxBxC, carry)

    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-5),
        gradients_of(beside),
        gradients_of(joined),
    )
