"""The training loop: compiled steps on a data-parallel mesh, validation, samples, checkpoints.

Shapes: K steps of one dispatch, B batch, T time, V vocabulary.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tqdm
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from midijax import input_pipeline, metrics, midi, model, optimizer, plots, progress
from midijax.checkpoint import METRIC, Checkpoints
from midijax.config import Config
from midijax.errors import UserError
from midijax.events import PAD
from midijax.generate import Length, generate
from midijax.metric_writer import MetricWriter
from midijax.model import PerformanceRNN


class TrainState(NamedTuple):
    """What a training step changes."""

    params: Any
    optimizer: Any


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
) -> Callable[[TrainState, jax.Array, int], tuple[TrainState, dict[str, jax.Array]]]:
    """Compiles (state, tokens_KxBxT, first step) -> (state K steps on, the last one's metrics).

    It consumes the state.
    """
    transform = optimizer.optimizer(config.optimizer, config.num_steps)
    rate = optimizer.learning_rate(config.optimizer, config.num_steps)
    seed_key = jax.random.key(config.seed)

    def train_step(
        state: TrainState, batch: tuple[jax.Array, jax.Array]
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        tokens_BxT, step = batch
        dropout_key = jax.random.fold_in(seed_key, step)
        nats, gradient = jax.value_and_grad(functools.partial(loss, network))(
            state.params, tokens_BxT, dropout_key
        )
        updates, optimizer_state = transform.update(gradient, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        report = {
            "loss": nats,
            "gradient_norm": optax.tree.norm(gradient),
            "learning_rate": rate(step - 1),
        }
        return TrainState(params, optimizer_state), report

    def train_steps(
        state: TrainState, tokens_KxBxT: jax.Array, first_step: jax.Array
    ) -> tuple[TrainState, dict[str, jax.Array]]:
        steps_K = first_step + jnp.arange(len(tokens_KxBxT))
        state, reports_K = jax.lax.scan(train_step, state, (tokens_KxBxT, steps_K))
        return state, jax.tree.map(lambda values_K: values_K[-1], reports_K)

    replicated = NamedSharding(mesh, PartitionSpec())
    return jax.jit(
        train_steps,
        donate_argnames=("state",),
        in_shardings=(replicated, _batches_sharding(mesh), None),
        out_shardings=replicated,
    )


def _batches_sharding(mesh: Mesh) -> NamedSharding:
    """Of tokens_KxBxT: each device has its part of every batch."""
    return NamedSharding(mesh, PartitionSpec(None, "data"))


class Trainer:
    """One run in its workdir: starts afresh, or goes on from the latest checkpoint there."""

    def __init__(self, workdir: Path, config: Config, corpus_folder: Path):
        """Compiles nothing yet; raises UserError if the workdir belongs to another run."""
        if config.data.batch_size % jax.device_count():
            raise UserError(
                f"data.batch_size={config.data.batch_size} does not divide evenly over "
                f"{jax.device_count()} devices; choose a multiple of it"
            )
        self._workdir = workdir
        self._config = config
        self._mesh = data_mesh()
        self._network = model.from_config(config)
        self._state = initial_state(config, self._network, self._mesh)
        self._train_steps = make_train_steps(config, self._network, self._mesh)
        self._batches = input_pipeline.training_batches(corpus_folder, config)
        self._validation = input_pipeline.validation_sequences(corpus_folder, config.vocabulary)
        self._checkpoints = Checkpoints(workdir, config, input_pipeline.fingerprint(corpus_folder))
        self._step = self._resume()
        self._unwritten: tuple[int, dict[str, jax.Array]] | None = None
        self._speed = _Speed(config.data.batch_size * config.data.sequence_length)

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""
        return self._step

    def run(self, stop_requested: Callable[[], bool] = lambda: False) -> bool:
        """Trains to the config's last step, or saves and returns False when asked to stop."""
        config = self._config
        with (
            MetricWriter(self._workdir, self._step) as self._writer,
            contextlib.closing(self._checkpoints),
            progress.bar(
                total=config.num_steps, initial=self._step, desc="training", unit="step"
            ) as bar,
        ):
            if not self._validation:
                bar.write("no validation split: the latest checkpoint will count as the best")
            self._speed.restart(self._step)
            while self._step < config.num_steps:
                report = self._advance()
                bar.update(config.steps_per_dispatch)
                is_last = self._step == config.num_steps
                if is_last or self._step % config.log_every_steps == 0:
                    self._log(report, bar)
                to_evaluate = is_last or self._step % config.eval_every_steps == 0
                to_stop = stop_requested() and not is_last
                if to_evaluate or to_stop or self._step % config.checkpoint_every_steps == 0:
                    self._write_report(bar)
                    _check_finite(self._step, report)
                    self._save(self._evaluate(bar) if to_evaluate else None)
                if to_stop:
                    return False
        return True

    def _advance(self) -> dict[str, jax.Array]:
        """Takes the steps of one dispatch and gives what the last measured, without waiting."""
        num_steps = self._config.steps_per_dispatch
        tokens_KxBxT = jax.make_array_from_process_local_data(
            _batches_sharding(self._mesh), np.stack([next(self._batches) for _ in range(num_steps)])
        )
        self._state, report = self._train_steps(self._state, tokens_KxBxT, self._step + 1)
        self._step += num_steps
        return report

    def _resume(self) -> int:
        restored = self._checkpoints.restore(*self._state, self._batches)
        if restored is None:
            return 0
        step, *state = restored
        self._state = TrainState(*state)
        return step

    def _save(self, validation: dict[str, float] | None) -> None:
        self._checkpoints.save(self._step, *self._state, self._batches, metrics=validation)

    def _log(self, report: dict[str, jax.Array], bar: tqdm.tqdm) -> None:
        """Writes the report before this one, so that no step waits for its own to be fetched."""
        self._write_report(bar)
        self._unwritten = (self._step, report)

    def _write_report(self, bar: tqdm.tqdm) -> None:
        if self._unwritten is None:
            return
        step, report = self._unwritten
        self._unwritten = None
        _check_finite(step, report)
        values = {name: float(value) for name, value in report.items()}
        events_per_second = self._speed.since_last(step)
        self._writer.write(step, **values, events_per_second=round(events_per_second, 1))
        speed = f"{events_per_second:,.0f} events/s"
        bar.set_postfix_str(f"loss {values['loss']:.3f} nats/event, {speed}")

    def _evaluate(self, bar: tqdm.tqdm) -> dict[str, float] | None:
        """Lets the model play, and scores the whole validation split if there is one."""
        self._write_sample()
        validation = self._score(bar) if self._validation else None
        self._speed.restart(self._step)
        return validation

    def _score(self, bar: tqdm.tqdm) -> dict[str, float]:
        scores = metrics.score(
            self._network,
            self._state.params,
            self._validation,
            self._config.vocabulary,
            mesh=self._mesh,
            progress=True,
        )
        values = {METRIC: scores.nats_per_event, "accuracy": scores.accuracy}
        self._writer.write(self._step, **{f"validation_{name}": values[name] for name in values})
        bar.write(f"step {self._step:,}: validation {scores.nats_per_event:.4f} nats/event")
        return values

    def _write_sample(self) -> None:
        folder = self._workdir / "samples"
        folder.mkdir(exist_ok=True)
        length = Length(seconds=self._config.sample_seconds)
        key = jax.random.key(self._config.seed)
        tokens = generate(self._state.params, key, self._config, length)[0]
        performance = self._config.vocabulary.decode(tokens)
        path = folder / f"step-{self._step:07}.mid"
        midi.write(performance, path)
        plots.piano_roll(performance, path.with_suffix(".png"), f"step {self._step:,}")


class _Speed:
    """Events per second between one look and the next."""

    def __init__(self, events_per_step: int):
        self._events_per_step = events_per_step
        self.restart(0)

    def restart(self, step: int) -> None:
        """Counts from now on."""
        self._step, self._time = step, time.monotonic()

    def since_last(self, step: int) -> float:
        """The rate since the last look, which this look becomes."""
        events = (step - self._step) * self._events_per_step
        seconds = time.monotonic() - self._time
        self.restart(step)
        return events / seconds


def _check_finite(step: int, report: dict[str, jax.Array]) -> None:
    loss, norm, rate = (float(report[name]) for name in ("loss", "gradient_norm", "learning_rate"))
    if not math.isfinite(loss + norm):
        raise UserError(
            f"at step {step} the loss is {loss} and the gradient norm {norm} (learning rate "
            f"{rate:.2g}); the last good checkpoint is kept: train anew with a lower "
            "--config.optimizer.learning_rate"
        )
