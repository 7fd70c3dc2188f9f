import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import model
from midijax.config import Config, ModelConfig

V, L, H, B, T = 11, 3, 8, 2, 6


@pytest.fixture(scope="module")
def network():
    return model.PerformanceRNN(vocab_size=V, num_layers=L, hidden_size=H, dropout_rate=0.5)


@pytest.fixture(scope="module")
def params(network):
    return init(network)


@pytest.fixture(scope="module")
def tokens():
    return jax.random.randint(jax.random.key(1), (B, T), 0, V)


@functools.partial(jax.jit, static_argnames="network")
def init(network):
    return model.init(network, jax.random.key(0))


@functools.partial(jax.jit, static_argnames=("network", "deterministic"))
def apply(network, params, tokens, deterministic=True, seed=0):
    carry = network.initial_carry(len(tokens))
    rngs = {"dropout": jax.random.key(seed)}
    return network.apply({"params": params}, tokens, carry, deterministic, rngs=rngs)


step = jax.jit(model.PerformanceRNN.step, static_argnums=0)


def test_further_layers_parameters_are_stacked(params):
    assert params["first_layer"]["input"].shape == (H, 4 * H)
    assert params["further_layers"]["input"].shape == (L - 1, H, 4 * H)
    assert params["further_layers"]["recurrent"].shape == (L - 1, H, 4 * H)
    assert params["embedding"]["embedding"].shape == (V + 1, H)
    assert params["head"]["kernel"].shape == (H, V)


def test_the_papers_model_has_its_size():
    network = model.from_config(Config(model=ModelConfig()))
    shapes = jax.eval_shape(lambda key: model.init(network, key), jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    assert count == 414 * 512 + 3 * (2 * 512 + 1) * 2048 + 513 * 413


def test_layers_differ_and_forget_gates_start_open(params):
    first, further = params["first_layer"], params["further_layers"]
    assert not np.allclose(first["recurrent"], further["recurrent"][0])
    assert not np.allclose(*further["recurrent"])
    for bias_G in (first["bias"], *further["bias"]):
        np.testing.assert_array_equal(bias_G[H : 2 * H], 1.0)
        np.testing.assert_array_equal(bias_G[2 * H :], 0.0)


def test_one_layer_has_no_further_ones(tokens):
    network = model.PerformanceRNN(vocab_size=V, num_layers=1, hidden_size=H)
    params = init(network)
    assert params.keys() == {"embedding", "first_layer", "head"}
    logits, (c, h) = apply(network, params, tokens)
    assert logits.shape == (B, T, V) and c.shape == h.shape == (1, B, H)


def test_no_prediction_depends_on_a_later_event(network, params):
    """Causality, by gradients through the embedding of each position."""
    positions = jnp.arange(T)[None] % V

    def logits_T(embedding):
        changed = {**params, "embedding": {"embedding": embedding}}
        logits, _ = network.apply({"params": changed}, positions, network.initial_carry(1))
        return logits[0].sum(-1)

    slopes_TxVxH = jax.jit(jax.jacrev(logits_T))(params["embedding"]["embedding"])
    depends_TxT = jnp.abs(slopes_TxVxH[:, :T]).sum(-1) > 0
    np.testing.assert_array_equal(depends_TxT, np.tri(T, dtype=bool))


@pytest.mark.parametrize("batch_size", [1, B])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_give_what_the_sequence_gives(network, params, tokens, dtype, batch_size):
    tokens = tokens[:batch_size]
    network = dataclasses.replace(network, dtype=dtype)
    inputs = model.shift_right(tokens, network.start)
    whole, carry = apply(network, params, inputs)
    weights = network.step_weights(params, batch_size)
    state = network.initial_carry(batch_size)
    for t in range(T):
        logits, state = step(network, weights, inputs[:, t], state)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits, whole[:, t], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(state, carry, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_rows_do_not_mix(network, params, tokens):
    both, _ = apply(network, params, tokens)
    alone, _ = apply(network, params, tokens[1:])
    np.testing.assert_allclose(both[1:], alone, rtol=1e-4, atol=1e-5)


def test_dropout_acts_only_in_training(network, params, tokens):
    def run(seed, deterministic):
        return apply(network, params, tokens, deterministic, seed)[0]

    np.testing.assert_array_equal(run(0, True), run(1, True))
    assert not np.allclose(run(0, False), run(1, False))
    np.testing.assert_array_equal(run(0, False), run(0, False))


def test_bfloat16_keeps_float32_parameters_and_logits(network, tokens):
    half = dataclasses.replace(network, dtype="bfloat16")
    params = init(half)
    logits, carry = apply(half, params, tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, logits, carry))} == {
        jnp.dtype("float32")
    }
    full, _ = apply(network, params, tokens)
    np.testing.assert_allclose(logits, full, atol=0.05)


def test_shift_right_starts_with_start():
    shifted = model.shift_right(jnp.array([[1, 2, 3], [4, 5, 6]]), start=V)
    np.testing.assert_array_equal(shifted, [[V, 1, 2], [V, 4, 5]])
