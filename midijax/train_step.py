"""One optimizer step and many: loss, gradient and update, compiled for a data-parallel mesh.

Shapes: K steps of one dispatch, B batch, T time, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from midijax import model, optimizer
from midijax.config import Config
from midijax.events import PAD
from midijax.model import PerformanceRNN


class TrainState(NamedTuple):
    """What a training step changes."""

    params: Any
    optimizer: Any


class Report(NamedTuple):
    """What a step measured; scalars.

    Attributes:
      loss: mean nats per event.
      gradient_norm: before clipping.
      learning_rate: what the update was made with.
      skipped: updates left out in the run so far, as their loss or gradient was not finite.
      skipped_in_a_row: how many of them were the latest.
    """

    loss: jax.Array
    gradient_norm: jax.Array
    learning_rate: jax.Array
    skipped: jax.Array
    skipped_in_a_row: jax.Array


def data_mesh() -> Mesh:
    """All devices of all processes, along the axis "data"."""
    return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def initial_state(config: Config, network: PerformanceRNN, mesh: Mesh) -> TrainState:
    """Fresh parameters and optimizer state, replicated over the mesh."""

    def init(key: jax.Array) -> TrainState:
        params = model.init(network, key)
        return TrainState(
            params, optimizer.optimizer(config.optimizer, config.num_steps).init(params)
        )

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(init, out_shardings=replicated)(jax.random.key(config.seed))


def loss(
    network: PerformanceRNN, params: Any, tokens_BxT: jax.Array, dropout_key: jax.Array
) -> jax.Array:
    """Mean nats per event over the events that are not PAD."""
    is_event_BxT = tokens_BxT != PAD
    labels_BxT = jnp.where(is_event_BxT, tokens_BxT, 0)
    logits_BxTxV, _ = network.apply(
        {"params": params},
        model.shift_right(labels_BxT, network.start),
        network.initial_carry(len(tokens_BxT)),
        deterministic=False,
        rngs={"dropout": dropout_key},
    )
    nats_BxT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BxTxV, labels_BxT)
    return (nats_BxT * is_event_BxT).sum() / is_event_BxT.sum()


def make_train_steps(
    config: Config, network: PerformanceRNN, mesh: Mesh
) -> Callable[[TrainState, jax.Array, int], tuple[TrainState, Report]]:
    """Compiles (state, tokens_KxBxT, first step) -> (state K steps on, the last one's report).

    It consumes the state. A step whose loss or gradient is not finite changes no parameter and no
    moment.
    """
    transform = optimizer.optimizer(config.optimizer, config.num_steps)
    rate = optimizer.learning_rate(config.optimizer, config.num_steps)
    seed_key = jax.random.key(config.seed)

    def train_step(
        state: TrainState, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, Report]:
        tokens_BxT, step = batch
        dropout_key = jax.random.fold_in(seed_key, step)
        nats, gradient = jax.value_and_grad(functools.partial(loss, network))(
            state.params, tokens_BxT, dropout_key
        )
        norm = optax.tree.norm(gradient)
        usable = jnp.isfinite(nats) & jnp.isfinite(norm)
        gradient = jax.tree.map(lambda g: jnp.where(usable, g, jnp.nan), gradient)
        updates, optimizer_state = transform.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        report = Report(
            loss=nats,
            gradient_norm=norm,
            learning_rate=rate(optimizer.num_updates(state.optimizer)),
            skipped=optimizer_state.total_notfinite,
            skipped_in_a_row=optimizer_state.notfinite_count,
        )
        return TrainState(params, optimizer_state), report

    def train_steps(
        state: TrainState, tokens_KxBxT: jax.Array, first_step: jax.Array
    ) -> tuple[TrainState, Report]:
        steps_K = first_step + jnp.arange(len(tokens_KxBxT))
        state, reports_K = jax.lax.scan(train_step, state, (tokens_KxBxT, steps_K))
        return state, jax.tree.map(lambda values_K: values_K[-1], reports_K)

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        train_steps,
        donate_argnames=("state",),
        in_shardings=(replicated, batches_sharding(mesh), None),
        out_shardings=replicated,
    )


def batches_sharding(mesh: Mesh) -> NamedSharding:
    """Of tokens_KxBxT: each device has its part of every batch."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))
