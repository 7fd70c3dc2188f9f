import dataclasses
import json

import jax
import numpy as np
import pytest

from midijax import checkpoint, corpus, etudes, midi, model, training
from midijax.config import TINY, DataConfig, ModelConfig, OptimizerConfig
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.events import PAD

SMALL = dataclasses.replace(
    TINY,
    model=ModelConfig(num_layers=2, hidden_size=16, dropout_rate=0.1),
    data=DataConfig(batch_size=8, sequence_length=32),
    num_steps=6,
    eval_every_steps=4,
    checkpoint_every_steps=2,
    log_every_steps=1,
    sample_seconds=2.0,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "etudes"
    recordings = [Recording.of(name, etude) for name, etude in etudes.corpus(5)]
    corpus.write(folder, {"train": recordings[:4], "validation": recordings[4:]})
    return folder


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    training.Trainer(workdir, SMALL, folder).run()
    return workdir


init = jax.jit(lambda network: model.init(network, jax.random.key(0)), static_argnums=0)
loss = jax.jit(training.loss, static_argnums=0)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return {line["step"]: line["loss"] for line in lines(workdir) if "loss" in line}


def test_logs_every_step_and_validates_when_asked_and_at_the_end(finished):
    assert list(losses(finished)) == [1, 2, 3, 4, 5, 6]
    validated = [line["step"] for line in lines(finished) if "validation_nats_per_event" in line]
    assert validated == [4, 6]
    rates = [line["learning_rate"] for line in lines(finished) if "loss" in line]
    assert rates == sorted(rates) and rates[0] == 0.0


def test_each_evaluation_writes_a_sample_that_can_be_read_and_its_picture(finished):
    for name in ("step-0000004", "step-0000006"):
        assert midi.read(finished / "samples" / f"{name}.mid").duration <= 2.0 + 1e-6
        assert (finished / "samples" / f"{name}.png").stat().st_size > 0


def test_a_stopped_run_goes_on_as_if_it_never_stopped(folder, finished, tmp_path, monkeypatch):
    stopped = training.Trainer(tmp_path, SMALL, folder)
    advance = stopped._advance

    def pull_the_plug():
        if stopped.step == 4:
            raise ConnectionAbortedError
        return advance()

    monkeypatch.setattr(stopped, "_advance", pull_the_plug)
    with pytest.raises(ConnectionAbortedError):
        stopped.run()
    resumed = training.Trainer(tmp_path, SMALL, folder)
    assert resumed.step == 4
    resumed.run()
    assert losses(tmp_path) == losses(finished)


def test_several_steps_in_a_dispatch_are_those_steps(folder, finished, tmp_path):
    config = dataclasses.replace(SMALL, log_every_steps=2, steps_per_dispatch=2)
    training.Trainer(tmp_path, config, folder).run()
    alone = losses(finished)
    assert losses(tmp_path) == pytest.approx({step: alone[step] for step in (2, 4, 6)}, rel=1e-5)


def test_trains_on_a_single_recording_and_keeps_the_latest(tmp_path):
    recording = Recording.of("alone", etudes.compose(0))
    corpus.write(tmp_path / "alone", {"train": [recording]})
    training.Trainer(tmp_path / "run", SMALL, tmp_path / "alone").run()
    assert not [line for line in lines(tmp_path / "run") if "validation_nats_per_event" in line]
    assert (tmp_path / "run" / "samples" / "step-0000006.mid").exists()
    assert checkpoint.load(tmp_path / "run").step == 6


def test_a_finished_run_has_nothing_left_to_do(folder, finished):
    assert training.Trainer(finished, SMALL, folder).step == SMALL.num_steps


def test_another_config_in_the_same_workdir_is_refused_by_field(folder, finished):
    other = dataclasses.replace(SMALL, seed=3)
    with pytest.raises(UserError, match="seed: 3 here, 0 there"):
        training.Trainer(finished, other, folder)


def test_padding_does_not_count():
    network = model.from_config(dataclasses.replace(SMALL, model=ModelConfig(2, 16, 0.0)))
    params = init(network)
    tokens = np.random.default_rng(0).integers(0, network.vocab_size, (2, 10))
    padded = np.pad(tokens, ((0, 0), (0, 5)), constant_values=PAD)
    plain, with_padding = (
        loss(network, params, batch, jax.random.key(0)) for batch in (tokens, padded)
    )
    np.testing.assert_allclose(plain, with_padding, rtol=1e-6)


def test_the_first_loss_is_that_of_guessing():
    network = model.from_config(SMALL)
    params = init(network)
    tokens = np.random.default_rng(0).integers(0, network.vocab_size, (16, 32))
    nats = loss(network, params, tokens, jax.random.key(0))
    assert abs(nats - np.log(network.vocab_size)) < 0.2


def test_learns_a_repeated_batch_by_heart():
    config = dataclasses.replace(
        SMALL, optimizer=OptimizerConfig(learning_rate=0.02, schedule="constant", warmup_steps=1)
    )
    network, mesh = model.from_config(config), training.data_mesh()
    state = training.initial_state(config, network, mesh)
    step = training.make_train_steps(config, network, mesh)
    tokens = np.tile(np.array([3, 300, 131, 330]), (1, 8, 8)).astype(np.int32)
    for index in range(1, 101):
        state, report = step(state, tokens, index)
    assert report["loss"] < 0.3


@pytest.mark.parametrize("log_every_steps", [1, 100])
def test_a_loss_that_is_not_finite_stops_the_run_before_it_is_saved(
    folder, tmp_path, monkeypatch, log_every_steps
):
    config = dataclasses.replace(
        SMALL, checkpoint_every_steps=1, eval_every_steps=6, log_every_steps=log_every_steps
    )
    trainer = training.Trainer(tmp_path, config, folder)
    advance = trainer._advance

    def stumble_at_3():
        return advance() | ({"loss": float("nan")} if trainer.step == 3 else {})

    monkeypatch.setattr(trainer, "_advance", stumble_at_3)
    with pytest.raises(UserError, match="at step 3 the loss is nan"):
        trainer.run()
    kept = [path.name for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit()]
    assert kept == ["2"]


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size=8 .*3 devices"):
        training.Trainer(tmp_path, SMALL, folder)
