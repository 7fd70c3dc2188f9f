import jax.numpy as jnp
import numpy as np
import optax
import pytest

from midijax import optimizer
from midijax.config import OptimizerConfig


def rates(num_steps=100, **fields):
    schedule = optimizer.learning_rate(OptimizerConfig(learning_rate=0.5, **fields), num_steps)
    return np.array([schedule(step) for step in range(num_steps + 1)])


def test_warms_up_linearly_then_stays():
    constant = rates(schedule="constant", warmup_steps=10)
    np.testing.assert_allclose(constant[:11], np.linspace(0, 0.5, 11), rtol=1e-6)
    np.testing.assert_allclose(constant[10:], 0.5)


def test_the_cosine_goes_down_to_a_tenth_at_the_last_step():
    cosine = rates(schedule="cosine", warmup_steps=10)
    assert cosine.argmax() == 10 and cosine[10] == 0.5
    assert (np.diff(cosine[10:]) < 0).all()
    np.testing.assert_allclose(cosine[-1], 0.05, rtol=1e-5)


def test_the_trapezoid_stays_and_falls_to_nothing_in_the_last_fifth():
    trapezoid = rates(schedule="trapezoid", warmup_steps=10)
    np.testing.assert_allclose(trapezoid[:11], np.linspace(0, 0.5, 11), rtol=1e-6)
    np.testing.assert_allclose(trapezoid[10:81], 0.5)
    np.testing.assert_allclose(trapezoid[80:], np.linspace(0.5, 0, 21), atol=1e-7)


def first_update(**fields):
    config = OptimizerConfig(learning_rate=0.1, schedule="constant", warmup_steps=0, **fields)
    transform = optimizer.optimizer(config, 10)
    params = jnp.array([3.0, -2.0])
    gradient = jnp.array([30.0, 40.0])
    updates, _ = transform.update(gradient, transform.init(params), params)
    return updates


@pytest.mark.parametrize("name", ["adam", "adamw", "rmsprop", "sgd"])
def test_every_optimizer_goes_downhill(name):
    assert (first_update(name=name) < 0).all()


def test_long_gradients_are_shortened():
    np.testing.assert_allclose(first_update(name="sgd", clip_norm=1.0), [-0.06, -0.08], rtol=1e-6)
    np.testing.assert_allclose(first_update(name="sgd", clip_norm=0.0), [-3.0, -4.0], rtol=1e-6)


def test_adamw_decays_the_weights():
    decayed = first_update(name="adamw", weight_decay=0.5) - first_update(name="adamw")
    np.testing.assert_allclose(decayed, [-0.1 * 0.5 * 3.0, 0.1 * 0.5 * 2.0], rtol=1e-5)


def test_adam_is_optax_adam():
    plain = optax.adam(0.1)
    params, gradient = jnp.array([3.0, -2.0]), jnp.array([30.0, 40.0])
    expected, _ = plain.update(gradient, plain.init(params))
    np.testing.assert_allclose(first_update(name="adam", clip_norm=0.0), expected)


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_gradient_that_is_not_finite_changes_nothing_and_is_counted(name):
    transform = optimizer.optimizer(OptimizerConfig(name=name), 10)
    params = jnp.array([3.0, -2.0])
    state = transform.init(params)
    for bad in (jnp.nan, jnp.inf):
        updates, state = transform.update(jnp.array([bad, 1.0]), state, params)
        np.testing.assert_array_equal(updates, 0.0)
    assert (state.notfinite_count, optimizer.num_updates(state)) == (2, 0)
    _, state = transform.update(jnp.array([1.0, 1.0]), state, params)
    assert (state.notfinite_count, state.total_notfinite, optimizer.num_updates(state)) == (0, 2, 1)
