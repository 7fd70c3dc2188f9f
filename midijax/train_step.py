"""One optimizer step and many: loss, gradient and update, compiled for a data-parallel mesh.

Shapes: K steps of one dispatch, B batch, S streams, T time, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from midijax import model, optimizer
from midijax.batches import Batch
from midijax.config import Config
from midijax.events import PAD
from midijax.model import Carry, PerformanceRNN


class TrainState(NamedTuple):
    """What a training step changes.

    Attributes:
      params: the model's parameters.
      optimizer: the optimizer's state.
      carry: what each of S streams remembers, (c_LxSxH, h_LxSxH).
    """

    params: Any
    optimizer: Any
    carry: Carry


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
        transform = optimizer.optimizer(config.optimizer, config.num_steps)
        carry = network.initial_carry(config.data.num_streams or config.data.batch_size)
        return TrainState(params, transform.init(params), carry)

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(init, out_shardings=replicated)(jax.random.key(config.seed))


def loss(
    network: PerformanceRNN, params: Any, batch: Batch, carry: Carry, dropout_key: jax.Array
) -> tuple[jax.Array, Carry]:
    """Mean nats per event over the targets that are not PAD, and the streams' carry after them.

    The carry is the one before the batch, as `begin` gives it.
    """
    predicted: Any = network.apply(
        {"params": params},
        batch.inputs_BxT,
        jax.tree.map(lambda all_LxSxH: all_LxSxH[:, batch.streams_B], carry),
        deterministic=False,
        controls_BxTxC=batch.controls_BxTxC,
        rngs={"dropout": dropout_key},
    )
    logits_BxTxV, after = predicted
    carry = jax.tree.map(lambda all_S, new_B: all_S.at[:, batch.streams_B].set(new_B), carry, after)
    is_event_BxT = batch.targets_BxT != PAD
    labels_BxT = jnp.where(is_event_BxT, batch.targets_BxT, 0)
    nats_BxT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BxTxV, labels_BxT)
    return (nats_BxT * is_event_BxT).sum() / jnp.maximum(is_event_BxT.sum(), 1), carry


def begin(batch: Batch, carry: Carry) -> Carry:
    """The streams' carry before a batch: nothing for those that begin anew."""

    def clear(all_LxSxH: jax.Array) -> jax.Array:
        rows_LxBxH = jnp.where(batch.begins_B[:, None], 0, all_LxSxH[:, batch.streams_B])
        return all_LxSxH.at[:, batch.streams_B].set(rows_LxBxH)

    return jax.tree.map(clear, carry)


def make_train_steps(
    config: Config, network: PerformanceRNN, mesh: Mesh
) -> Callable[[TrainState, Batch, int], tuple[TrainState, Report]]:
    """Compiles (state, K batches, first step) -> (state K steps on, the last one's report).

    It consumes the state. A step whose loss or gradient is not finite changes none of it, but that
    streams which begin anew have done so. The batches are a `Batch` whose arrays have an axis K
    before all others.
    """
    transform = optimizer.optimizer(config.optimizer, config.num_steps)
    rate = optimizer.learning_rate(config.optimizer, config.num_steps)
    seed_key = jax.random.key(config.seed)
    loss_and_gradient = jax.value_and_grad(functools.partial(loss, network), has_aux=True)

    def train_step(
        state: TrainState, batch_and_step: tuple[Batch, jax.Array]
    ) -> tuple[TrainState, Report]:
        batch, step = batch_and_step
        dropout_key = jax.random.fold_in(seed_key, step)
        before = begin(batch, state.carry)
        (nats, after), gradient = loss_and_gradient(state.params, batch, before, dropout_key)
        norm = optax.tree.norm(gradient)
        usable = jnp.isfinite(nats) & jnp.isfinite(norm)
        gradient = jax.tree.map(lambda g: jnp.where(usable, g, jnp.nan), gradient)
        updates, optimizer_state = transform.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        carry = jax.tree.map(lambda new, old: jnp.where(usable, new, old), after, before)
        report = Report(
            loss=nats,
            gradient_norm=norm,
            learning_rate=rate(optimizer.num_updates(state.optimizer)),
            skipped=optimizer_state.total_notfinite,
            skipped_in_a_row=optimizer_state.notfinite_count,
        )
        return TrainState(params, optimizer_state, carry), report

    def train_steps(
        state: TrainState, batches_K: Batch, first_step: jax.Array
    ) -> tuple[TrainState, Report]:
        steps_K = first_step + jnp.arange(len(batches_K.begins_B))
        state, reports_K = jax.lax.scan(train_step, state, (batches_K, steps_K))
        return state, jax.tree.map(lambda values_K: values_K[-1], reports_K)

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        train_steps,
        donate_argnames=("state",),
        in_shardings=(replicated, batches_sharding(mesh), None),
        out_shardings=replicated,
    )


def batches_sharding(mesh: Mesh) -> NamedSharding:
    """Of K batches: each device has its rows of every one."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))
