import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import model
from midijax.batches import Batch
from midijax.config import Config, ModelConfig

V, L, H, B, T, C = 11, 3, 8, 2, 6, 3


@pytest.fixture(scope="module")
def network():
    return model.PerformanceRNN(vocab_size=V, num_layers=L, hidden_size=H, dropout_rate=0.5)


@pytest.fixture(scope="module")
def params(network):
    return init(network)


@pytest.fixture(scope="module")
def residual(network):
    """A residual stack that is told of C features, its parameters, and what it is told."""
    network = dataclasses.replace(network, residual=True, num_controls=C)
    params = init(network)
    shape = params["first_layer"]["controls"].shape
    params["first_layer"]["controls"] = jax.random.normal(jax.random.key(2), shape)
    return network, params, jax.random.normal(jax.random.key(3), (B, T, C))


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


def test_what_a_residual_stack_embeds_is_small_beside_what_its_layers_learn_to_add():
    for residual, deviation in ((True, 0.1), (False, 1.0)):
        network = model.PerformanceRNN(
            vocab_size=100, num_layers=1, hidden_size=64, residual=residual
        )
        table = model.init(network, jax.random.key(0))["embedding"]["embedding"]
        assert np.std(table) == pytest.approx(deviation, rel=0.05)


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
    inputs = Batch.of(np.asarray(tokens), network.start).inputs_BxT
    whole, carry = apply(network, params, inputs)
    weights = network.step_weights(params, batch_size)
    state = network.initial_carry(batch_size)
    for t in range(T):
        logits, state = step(network, weights, inputs[:, t], state)
        assert logits.dtype == jnp.float32
        np.testing.assert_allclose(logits, whole[:, t], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(state, carry, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("is_told", [False, True])
def test_steps_of_a_residual_stack_give_what_the_sequence_gives(residual, tokens, dtype, is_told):
    network, params, controls = residual
    network = dataclasses.replace(network, dtype=dtype)
    told = controls if is_told else None
    inputs = Batch.of(np.asarray(tokens), network.start).inputs_BxT
    whole, _ = network.apply(
        {"params": params}, inputs, network.initial_carry(B), controls_BxTxC=told
    )
    weights = network.step_weights(params, B)
    state = network.initial_carry(B)
    for t in range(T):
        gates = network.project_controls(params, told[:, t]) if is_told else None
        logits, state = step(network, weights, inputs[:, t], state, gates)
        tolerance = 1e-4 if dtype == "float32" else 0.05
        np.testing.assert_allclose(logits, whole[:, t], rtol=tolerance, atol=tolerance)


def test_controls_say_nothing_where_all_are_zero_and_something_else(residual, tokens):
    network, params, controls = residual

    def logits(told):
        carry = network.initial_carry(B)
        return network.apply({"params": params}, tokens, carry, controls_BxTxC=told)[0]

    np.testing.assert_allclose(logits(jnp.zeros_like(controls)), logits(None), atol=1e-6)
    assert not np.allclose(logits(controls), logits(None), atol=1e-3)


def test_a_residual_stack_normalizes_and_adds(residual, tokens):
    """With layers that give nothing, the head sees the normalized embedding."""
    network, params, _ = residual
    still = jax.tree.map(jnp.zeros_like, params)
    kept = ("embedding", "head", "head_norm")
    logits, _ = network.apply(
        {"params": still | {name: params[name] for name in kept}}, tokens, network.initial_carry(B)
    )
    x = params["embedding"]["embedding"][tokens]
    x = (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True)
    expected = x @ params["head"]["kernel"] + params["head"]["bias"]
    np.testing.assert_allclose(logits, expected, rtol=1e-3, atol=1e-4)


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


def test_of_the_recurrent_weights_some_are_left_out_all_through_a_window(tokens):
    network = model.PerformanceRNN(V, num_layers=1, hidden_size=1, recurrent_dropout_rate=0.5)
    params = init(network)
    recurrent = params["first_layer"]["recurrent"]

    def kept(mask):
        masked = {"recurrent": 2 * recurrent * np.array(mask, np.float32)}
        return apply(network, params | {"first_layer": params["first_layer"] | masked}, tokens)[0]

    possible = np.stack([kept(mask) for mask in itertools.product((0, 1), repeat=4)])
    seen = set()
    for seed in range(20):
        logits, _ = apply(network, params, tokens, False, seed)
        is_near = np.isclose(logits, possible, rtol=1e-4, atol=1e-6).all(axis=(1, 2, 3))
        assert is_near.sum() == 1
        seen.add(int(is_near.argmax()))
    assert len(seen) > 5


def test_bfloat16_keeps_float32_parameters_and_logits(network, tokens):
    half = dataclasses.replace(network, dtype="bfloat16")
    params = init(half)
    logits, carry = apply(half, params, tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves((params, logits, carry))} == {
        jnp.dtype("float32")
    }
    full, _ = apply(network, params, tokens)
    np.testing.assert_allclose(logits, full, atol=0.05)
