"""A training run: compiled steps one after the other, validation, samples, checkpoints.

Several processes take the same steps; the primary alone writes and tells what came of them.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from midijax import config as config_lib
from midijax import input_pipeline, log, metrics, midi, model, plots, progress
from midijax.batches import stack
from midijax.checkpoint import METRIC, Loaded
from midijax.config import Config, ModelConfig
from midijax.errors import UserError
from midijax.generate import Length, generate
from midijax.health import Health
from midijax.metric_writer import MetricWriter
from midijax.profiling import Profile
from midijax.run_checkpoints import Checkpoints
from midijax.stopping import Stopped, StopRequest
from midijax.train_step import (
    Report,
    TrainState,
    batches_sharding,
    data_mesh,
    initial_state,
    make_train_steps,
)

# Those that leave the parameters' shapes alone.
FREE_MODEL_FIELDS = ("dropout_rate", "recurrent_dropout_rate", "forget_bias", "dtype", "remat")


class Trainer:
    """One run in its workdir: starts afresh, or goes on from the latest checkpoint there.

    What a dispatch measured is looked at when the next one is on its way, so that the device never
    waits; but before anything is saved, all is known of what led to it.
    """

    def __init__(
        self,
        workdir: Path,
        config: Config,
        corpus_folder: Path,
        after_save: Callable[[], None] = lambda: None,
        start_from: Loaded | None = None,
    ):
        """Compiles nothing yet; raises UserError if the workdir belongs to another run.

        `after_save` is called whenever a checkpoint has been saved. A run that begins has the
        parameters of `start_from`, or random ones.
        """
        if start_from:
            _check_same_model(start_from.config, config)
        if config.data.batch_size % jax.device_count():
            raise UserError(
                f"data.batch_size={config.data.batch_size} does not divide evenly over "
                f"{jax.device_count()} devices; choose a multiple of it"
            )
        self._workdir = workdir
        self._config = config
        self._mesh = data_mesh()
        self._is_primary = jax.process_index() == 0
        self._network = model.from_config(config)
        self._train_steps = make_train_steps(config, self._network, self._mesh)
        self._batches = input_pipeline.training_batches(
            corpus_folder, config, input_pipeline.useful_workers(config)
        )
        self._validation = input_pipeline.validation_sequences(corpus_folder, config.vocabulary)
        self._checkpoints = Checkpoints(workdir, config, input_pipeline.fingerprint(corpus_folder))
        self._after_save = after_save
        self._start_from = start_from
        self._step = 0
        self._state = self._fresh_state()
        self._resume()
        self._speed = _Speed(self._events_per_step)
        self._unseen: list[tuple[int, Report]] = []  # of dispatches not yet looked at
        self._skipped_in_a_row = 0
        self._roll_backs = 0

    @property
    def step(self) -> int:
        """Optimizer steps taken so far."""
        return self._step

    @property
    def saved_step(self) -> int:
        """The step from which the run would go on if it ended now."""
        return self._checkpoints.latest_step

    @property
    def is_finished(self) -> bool:
        """Whether all steps are taken and what they led to is scored."""
        return self._step == self._config.num_steps and not self._is_score_missing

    def run(self, stop_requested: StopRequest | None = None, profile_steps: int = 0) -> bool:
        """Trains to the config's last step, or saves and returns False when asked to stop.

        Args:
          stop_requested: says when to stop; None: never.
          profile_steps: this many steps are traced into the workdir's folder `profile`.

        Returns:
          Whether the run is finished.

        Raises:
          UserError: too many losses or gradients in a row were not finite, or something cannot be
            written; the last good checkpoint is kept.
        """
        config = self._config
        with (
            contextlib.closing(self._checkpoints),
            contextlib.closing(self._batches),
            MetricWriter(self._workdir, self._step)
            if self._is_primary
            else contextlib.nullcontext() as self._writer,
            Health(self._workdir, self._events_per_step, self._step) as self._health,
            Profile(
                self._workdir / "profile", profile_steps if self._is_primary else 0
            ) as self._profile,
            progress.bar(
                total=config.num_steps,
                initial=self._step,
                desc="training",
                unit="step",
                disable=not self._is_primary,
            ) as self._bar,
        ):
            return self._loop(stop_requested or StopRequest())

    def _loop(self, stop_requested: StopRequest) -> bool:
        config = self._config
        if not self._validation:
            self._tell("no validation split: the latest checkpoint will count as the best")
        if self._is_score_missing and not self._validate_and_save(stop_requested):
            return False
        self._speed.restart(self._step)
        while self._step < config.num_steps:
            if stop_requested():
                self._save_if_sound()
                return False
            self._dispatch()
            self._look_at_reports(but_last=1)
            self._health.look(self._step, self._bar.write)
            if self._is_due(config.eval_every_steps):
                if not self._validate_and_save(stop_requested):
                    return False
                self._speed.restart(self._step)
            elif self._is_due(config.checkpoint_every_steps):
                self._save_if_sound()
        return True

    def _dispatch(self) -> None:
        """Sends the device its next steps, without waiting for them."""
        num_steps = self._config.steps_per_dispatch
        with self._health.waiting_for_data():
            batches_K = stack([next(self._batches) for _ in range(num_steps)])
        placed = jax.make_array_from_process_local_data(batches_sharding(self._mesh), batches_K)
        self._state, report = self._train_steps(self._state, placed, self._step + 1)
        self._step += num_steps
        self._unseen.append((self._step, report))
        self._bar.update(num_steps)
        if self._profile.after_dispatch(num_steps, self._state):
            self._tell(f"traced into {self._workdir / 'profile'}")

    def _look_at_reports(self, but_last: int = 0) -> None:
        """Waits for reports, `but_last` so many: logs them and acts on values not finite."""
        while len(self._unseen) > but_last:
            step, report = self._unseen.pop(0)
            self._skipped_in_a_row = int(report.skipped_in_a_row)
            if step % self._config.log_every_steps == 0 or step == self._config.num_steps:
                self._log(step, report)
            if self._skipped_in_a_row > self._config.max_skipped_in_a_row:
                self._roll_back(step, report)

    def _log(self, step: int, report: Report) -> None:
        if not self._writer:
            return
        values = {name: float(value) for name, value in report._asdict().items()}
        del values["skipped_in_a_row"]
        events_per_second = self._speed.since_last(step)
        self._writer.write(step, **values, events_per_second=round(events_per_second, 1))
        speed = f"{events_per_second:,.0f} events/s"
        self._bar.set_postfix_str(f"loss {values['loss']:.3f} nats/event, {speed}")

    def _roll_back(self, step: int, report: Report) -> None:
        """Goes on with the next data from the state last saved, if that may be done again."""
        what = (
            f"the loss is {float(report.loss):g} and the gradient norm "
            f"{float(report.gradient_norm):g} (learning rate {float(report.learning_rate):.2g}), "
            f"the last of {self._skipped_in_a_row} updates in a row that were not finite"
        )
        if self._roll_backs == self._config.max_roll_backs:
            raise UserError(
                f"at step {step} {what}; the checkpoint of step {self.saved_step} is kept: train "
                "anew with a lower --config.optimizer.learning_rate or another --config.seed"
            )
        self._roll_backs += 1
        self._unseen.clear()
        self._skipped_in_a_row = 0
        self._state = self._fresh_state()
        if restored := self._checkpoints.restore(self._state):
            self._state = restored.state._replace(carry=self._state.carry)  # of other music
        self._tell(f"{what}: back to the state of step {self.saved_step}, with the next data")

    def _fresh_state(self) -> TrainState:
        state = initial_state(self._config, self._network, self._mesh)
        if self._start_from is None:
            return state
        params = jax.tree.map(
            lambda value, leaf: jax.device_put(np.asarray(value), leaf.sharding),
            self._start_from.params,
            state.params,
        )
        return state._replace(params=params)

    def _resume(self) -> None:
        restored = self._checkpoints.restore(self._state)
        self._is_score_missing = False
        if restored:
            self._step = restored.step
            self._state = restored.state
            self._go_to(restored.position)
            to_validate = bool(self._validation) and self._is_due(self._config.eval_every_steps)
            self._is_score_missing = to_validate and not restored.validated

    def _go_to(self, position: dict[str, Any]) -> None:
        try:
            self._batches.set_state(position)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                f"the checkpoint of step {self._step} in '{self._workdir}' is at no place in the "
                f"data ({position}); take another --workdir"
            ) from error

    def _is_due(self, every_steps: int) -> bool:
        return self._step % every_steps == 0 or self._step == self._config.num_steps

    def _save_if_sound(self, scores: dict[str, float] | None = None) -> None:
        """Saves, unless the latest update was left out: the state may be the cause.

        At the last step there is no further update to tell: the state is that of the last good one.
        """
        self._look_at_reports()
        is_saved = self.saved_step == self._step and scores is None
        is_last = self._step == self._config.num_steps
        if (self._skipped_in_a_row == 0 or is_last) and not is_saved:
            position = self._batches.get_state()
            self._checkpoints.save(self._step, self._state, position, metrics=scores)
            self._after_save()

    def _validate_and_save(self, stop_requested: StopRequest) -> bool:
        """Lets the model play, scores the validation split if there is one, and saves.

        Broken off by a request to stop, it saves without a score and returns False.
        """
        self._look_at_reports()
        self._write_sample()
        scores = None
        if self._validation:
            try:
                with stop_requested.breaks_off():
                    scores = self._score()
            except Stopped:
                self._save_if_sound()
                return False
        self._save_if_sound(self._written(scores) if scores else None)
        self._is_score_missing = False
        return True

    def _score(self) -> metrics.Scores:
        return metrics.score(
            self._network,
            self._state.params,
            self._validation,
            self._config.vocabulary,
            mesh=self._mesh,
            progress=self._is_primary,
        )

    def _written(self, scores: metrics.Scores) -> dict[str, float]:
        """Writes and tells what a checkpoint keeps of the scores; UserError if they are none."""
        if not math.isfinite(scores.nats_per_event):
            raise UserError(
                f"at step {self._step} the validation split scores {scores.nats_per_event} nats "
                f"per event; the checkpoint of step {self.saved_step} is kept: train anew with a "
                "lower --config.optimizer.learning_rate"
            )
        values = {METRIC: scores.nats_per_event, "accuracy": scores.accuracy}
        if self._writer:
            validation = {f"validation_{name}": value for name, value in values.items()}
            self._writer.write(self._step, **validation)
        self._tell(f"validation {scores.nats_per_event:.4f} nats/event")
        return values

    def _write_sample(self) -> None:
        length = Length(seconds=self._config.sample_seconds)
        key = jax.random.key(self._config.seed)
        for tokens in generate(self._state.params, key, self._config, length).values():
            performance = self._config.vocabulary.decode(tokens)
            path = self._workdir / "samples" / f"step-{self._step:07}.mid"
            midi.write(performance, path)
            plots.piano_roll(performance, path.with_suffix(".png"), f"step {self._step:,}")

    def _tell(self, text: str) -> None:
        if self._is_primary:
            self._bar.write(log.line(self._step, text))

    @property
    def _events_per_step(self) -> int:
        return self._config.data.batch_size * self._config.data.sequence_length


def _check_same_model(theirs: Config, ours: Config) -> None:
    """Raises UserError if a run cannot start from another's parameters."""

    def shape(config: Config) -> Config:
        free = {name: getattr(ModelConfig(), name) for name in FREE_MODEL_FIELDS}
        return Config(
            vocabulary=config.vocabulary,
            controls=config.controls,
            model=dataclasses.replace(config.model, **free),
        )

    if differing := config_lib.differences(shape(ours), shape(theirs)):
        raise UserError(
            "--start_from holds a model of another config: give the --config it was made with, or "
            f"set these fields to what they are there ({'; '.join(differing)})"
        )


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
