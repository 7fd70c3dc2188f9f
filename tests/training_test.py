import dataclasses
import functools
import json
import multiprocessing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import (
    checkpoint,
    corpus,
    etudes,
    metrics,
    midi,
    model,
    optimizer,
    train_step,
    training,
)
from midijax.batches import Batch
from midijax.config import TINY, DataConfig, ModelConfig, OptimizerConfig
from midijax.controls import Controls
from midijax.corpus import Recording
from midijax.errors import UserError
from midijax.events import PAD
from midijax.stopping import StopRequest

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


@functools.partial(jax.jit, static_argnums=0)
def loss_after(network, params, batch, carry):
    begun = train_step.begin(batch, carry)
    return train_step.loss(network, params, batch, begun, jax.random.key(0))


def loss(network, params, tokens):
    batch = Batch.of(tokens, network.start)
    return loss_after(network, params, batch, network.initial_carry(len(tokens)))[0]


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
    dispatch = stopped._dispatch

    def pull_the_plug():
        if stopped.step == 4:
            raise ConnectionAbortedError
        dispatch()

    monkeypatch.setattr(stopped, "_dispatch", pull_the_plug)
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
    plain, with_padding = (loss(network, params, batch) for batch in (tokens, padded))
    np.testing.assert_allclose(plain, with_padding, rtol=1e-6)


def test_a_row_goes_on_from_the_state_after_the_one_before_unless_it_begins_anew():
    network = model.from_config(dataclasses.replace(SMALL, model=ModelConfig(2, 16, 0.0)))
    params = init(network)
    tokens = np.random.default_rng(0).integers(0, network.vocab_size, (2, 20)).astype(np.int32)
    whole = Batch.of(tokens, network.start)
    first, second = (
        Batch(whole.inputs_BxT[:, half], tokens[:, half], whole.streams_B, np.full(2, begins))
        for half, begins in ((slice(10), True), (slice(10, 20), False))
    )
    carry = network.initial_carry(2)
    in_one, _ = loss_after(network, params, whole, carry)
    nats_1, carry = loss_after(network, params, first, carry)
    nats_2, _ = loss_after(network, params, second, carry)
    np.testing.assert_allclose((nats_1 + nats_2) / 2, in_one, rtol=1e-5)
    anew, _ = loss_after(network, params, second._replace(begins_B=np.ones(2, bool)), carry)
    fresh, _ = loss_after(network, params, second, network.initial_carry(2))
    np.testing.assert_allclose(anew, fresh, rtol=1e-6)
    assert abs(anew - nats_2) > 1e-6


def test_a_step_changes_the_state_of_its_own_streams_alone():
    network = model.from_config(dataclasses.replace(SMALL, model=ModelConfig(2, 16, 0.0)))
    params = init(network)
    tokens = np.random.default_rng(0).integers(0, network.vocab_size, (2, 10)).astype(np.int32)
    batch = Batch.of(tokens, network.start)._replace(begins_B=np.zeros(2, bool))
    remembered = jax.tree.map(lambda x: x + jnp.arange(4)[:, None] / 10, network.initial_carry(4))
    nats, after = loss_after(
        network, params, batch._replace(streams_B=np.array([3, 1])), remembered
    )
    own = jax.tree.map(lambda x: x[:, [3, 1]], remembered)
    expected_nats, expected = loss_after(network, params, batch, own)
    np.testing.assert_allclose(nats, expected_nats, rtol=1e-6)
    for got, changed, before in zip(after, expected, remembered, strict=True):
        np.testing.assert_allclose(got[:, [3, 1]], changed, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(got[:, [0, 2]], before[:, [0, 2]])


def test_the_first_loss_is_that_of_guessing():
    network = model.from_config(SMALL)
    params = init(network)
    tokens = np.random.default_rng(0).integers(0, network.vocab_size, (16, 32))
    nats = loss(network, params, tokens)
    assert abs(nats - np.log(network.vocab_size)) < 0.2


def test_learns_a_repeated_batch_by_heart():
    config = dataclasses.replace(
        SMALL, optimizer=OptimizerConfig(learning_rate=0.02, schedule="constant", warmup_steps=1)
    )
    network, mesh = model.from_config(config), train_step.data_mesh()
    state = train_step.initial_state(config, network, mesh)
    step = train_step.make_train_steps(config, network, mesh)
    batch = Batch.of(np.tile(np.array([3, 300, 131, 330]), (8, 8)).astype(np.int32), network.start)
    batches = jax.tree.map(lambda leaf: leaf[None], batch)
    for index in range(1, 101):
        state, report = step(state, batches, index)
    assert report.loss < 0.3


@pytest.fixture
def poison(monkeypatch):
    """Makes what `part` names, "loss" or "gradient", NaN at some steps of the runs to come."""
    plain = train_step.loss

    def poison(part, steps):
        keys = jnp.stack([jax.random.fold_in(jax.random.key(SMALL.seed), step) for step in steps])

        def poisoned(network, params, batch, carry, dropout_key):
            nats, carry = plain(network, params, batch, carry, dropout_key)
            is_chosen = (keys == dropout_key).any()
            if part == "loss":
                return nats + jnp.where(is_chosen, jnp.nan, 0.0), carry
            zero = 0.0 * sum(leaf.sum() for leaf in jax.tree.leaves(params))
            return nats + jax.lax.cond(is_chosen, jnp.sqrt, jnp.zeros_like, zero), carry

        monkeypatch.setattr(train_step, "loss", poisoned)

    return poison


def checkpoints_of(workdir):
    return {path.name for path in (workdir / "checkpoints").iterdir()}


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_an_update_that_is_not_finite_is_left_out(folder, tmp_path, poison, part):
    poison(part, [3])
    config = dataclasses.replace(SMALL, checkpoint_every_steps=1, eval_every_steps=6)
    trainer = training.Trainer(tmp_path, config, folder)
    assert trainer.run()
    skipped = [line["skipped"] for line in lines(tmp_path) if "skipped" in line]
    assert skipped == [0, 0, 1, 1, 1, 1]
    assert (losses(tmp_path)[3] is None) == (part == "loss")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trainer._state))
    assert optimizer.num_updates(trainer._state.optimizer) == 5


def test_streams_that_begin_anew_do_so_though_the_update_is_left_out(poison):
    poison("loss", [1])
    network, mesh = model.from_config(SMALL), train_step.data_mesh()
    state = train_step.initial_state(SMALL, network, mesh)
    state = state._replace(carry=jax.tree.map(lambda x: x + 1, state.carry))
    batch = Batch.of(np.zeros((8, 8), np.int32), network.start)
    batch = batch._replace(begins_B=np.arange(8) < 3)
    step = train_step.make_train_steps(SMALL, network, mesh)
    state, report = step(state, jax.tree.map(lambda leaf: leaf[None], batch), 1)
    assert report.skipped == 1
    for leaf_LxSxH in state.carry:
        assert not leaf_LxSxH[:, :3].any() and (leaf_LxSxH[:, 3:] == 1).all()


def test_too_many_in_a_row_stop_the_run_with_the_last_good_checkpoint(folder, tmp_path, poison):
    poison("loss", [3, 4, 5, 6])
    config = dataclasses.replace(
        SMALL, checkpoint_every_steps=1, eval_every_steps=6, max_skipped_in_a_row=1
    )
    said = r"at step 4 the loss is nan .*learning rate .*2 updates in a row.*checkpoint of step 2"
    for _ in range(2):
        with pytest.raises(UserError, match=said):
            training.Trainer(tmp_path, config, folder).run()
    assert checkpoints_of(tmp_path) == {"1", "2"}


def test_a_run_that_ends_on_one_keeps_what_it_had_before(folder, tmp_path, poison):
    poison("loss", [6])
    trainer = training.Trainer(tmp_path, SMALL, folder)
    assert trainer.run() and trainer.saved_step == 6
    assert optimizer.num_updates(trainer._state.optimizer) == 5
    assert training.Trainer(tmp_path, SMALL, folder).is_finished


def test_a_score_that_is_not_finite_is_never_the_best(folder, tmp_path, monkeypatch):
    nothing = metrics.Scores((float("nan"),) * 4, (1,) * 4, (0,) * 4, 1.0)
    monkeypatch.setattr(metrics, "score", lambda *_, **__: nothing)
    with pytest.raises(UserError, match="at step 4 the validation split scores nan"):
        training.Trainer(tmp_path, SMALL, folder).run()
    assert checkpoints_of(tmp_path) == {"2"}


def test_a_gradient_too_long_to_measure_is_left_out(folder, tmp_path, monkeypatch):
    plain = train_step.loss

    def steep(network, params, *batch):
        nats, carry = plain(network, params, *batch)
        slope = 1e25 * sum(leaf.sum() for leaf in jax.tree.leaves(params))
        return nats + slope - jax.lax.stop_gradient(slope), carry

    monkeypatch.setattr(train_step, "loss", steep)
    with pytest.raises(UserError, match="the gradient norm inf"):
        training.Trainer(tmp_path, dataclasses.replace(SMALL, max_skipped_in_a_row=1), folder).run()
    assert checkpoints_of(tmp_path) == set()


def test_rolls_back_and_goes_on_with_the_next_data(folder, tmp_path, poison, monkeypatch):
    poison("loss", [3, 4])
    config = dataclasses.replace(SMALL, max_skipped_in_a_row=1, max_roll_backs=1)
    trainer = training.Trainer(tmp_path, config, folder)
    states = []
    restore = trainer._checkpoints.restore

    def note(*state):
        states.append(restore(*state))
        return states[-1]

    monkeypatch.setattr(trainer._checkpoints, "restore", note)
    assert trainer.run()
    assert [state.step for state in states] == [2]
    assert trainer._batches.get_state() == {"next_index": 6}
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(trainer._state))


def test_asked_to_stop_while_it_validates_it_saves_and_validates_later(
    folder, finished, tmp_path, monkeypatch
):
    stop = StopRequest()

    def ask_to_stop(*_, **__):
        stop._note(0, None)

    with monkeypatch.context() as patch:
        patch.setattr(training.metrics, "score", ask_to_stop)
        trainer = training.Trainer(tmp_path, SMALL, folder)
        assert not trainer.run(stop)
    assert (trainer.step, trainer.saved_step) == (4, 4)
    resumed = training.Trainer(tmp_path, SMALL, folder)
    assert not resumed.is_finished
    assert resumed.run()
    values = [
        [{**line, "time": None, "events_per_second": None} for line in lines(workdir)]
        for workdir in (tmp_path, finished)
    ]
    assert values[0] == values[1]


def test_asked_to_stop_before_it_starts_it_has_nothing_to_save(folder, tmp_path):
    stop = StopRequest()
    stop._note(0, None)
    trainer = training.Trainer(tmp_path, SMALL, folder)
    assert not trainer.run(stop)
    assert (trainer.step, checkpoints_of(tmp_path)) == (0, set())


def test_a_batch_that_does_not_divide_over_the_devices_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("jax.device_count", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size=8 .*3 devices"):
        training.Trainer(tmp_path, SMALL, folder)


FOLLOWING = dataclasses.replace(
    SMALL,
    model=ModelConfig(num_layers=2, hidden_size=16, dropout_rate=0.1, residual=True),
    controls=Controls(enabled=True),
    data=DataConfig(batch_size=8, sequence_length=32, num_streams=16),
)


def test_a_run_of_consecutive_windows_goes_on_with_the_state_of_each_row(folder, tmp_path):
    training.Trainer(tmp_path / "whole", FOLLOWING, folder).run()

    class StopAfterTwo(StopRequest):
        def __init__(self):
            self._steps = iter((False, False, True))

        def __call__(self):
            return next(self._steps)

    trainer = training.Trainer(tmp_path / "parts", FOLLOWING, folder)
    assert not trainer.run(StopAfterTwo())
    trainer = training.Trainer(tmp_path / "parts", FOLLOWING, folder)
    assert trainer.step == 2 and np.abs(np.asarray(trainer._state.carry)).sum() > 0
    assert trainer.run()
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")


def test_workers_change_no_loss_and_end_with_the_run(folder, tmp_path, monkeypatch):
    training.Trainer(tmp_path / "thread", FOLLOWING, folder).run()
    monkeypatch.setattr("midijax.input_pipeline.useful_workers", lambda config: 2)
    trainer = training.Trainer(tmp_path / "workers", FOLLOWING, folder)
    assert trainer.run()
    assert losses(tmp_path / "workers") == losses(tmp_path / "thread")
    assert not multiprocessing.active_children()


def test_after_a_roll_back_no_stream_goes_on_from_other_music(
    folder, tmp_path, poison, monkeypatch
):
    poison("loss", [4])
    config = dataclasses.replace(FOLLOWING, max_skipped_in_a_row=0, max_roll_backs=1)
    trainer = training.Trainer(tmp_path, config, folder)
    roll_back, restore = trainer._roll_back, trainer._checkpoints.restore
    saved, carries = [], []

    def note_saved(like):
        saved.append(restore(like))
        return saved[-1]

    def note_carry(*report):
        roll_back(*report)
        carries.append([np.abs(leaf).sum() for leaf in trainer._state.carry])

    monkeypatch.setattr(trainer._checkpoints, "restore", note_saved)
    monkeypatch.setattr(trainer, "_roll_back", note_carry)
    assert trainer.run()
    assert carries == [[0, 0]] and np.abs(saved[0].state.carry[0]).sum() > 0


def test_a_run_starts_from_what_another_has_learned(folder, finished, tmp_path):
    learned = checkpoint.load(finished)
    trainer = training.Trainer(tmp_path, SMALL, folder, start_from=learned)
    jax.tree.map(np.testing.assert_array_equal, trainer._state.params, learned.params)
    assert trainer.step == 0
    trainer.run()
    assert losses(tmp_path)[1] < losses(finished)[1]
    again = training.Trainer(tmp_path, SMALL, folder, start_from=learned)
    assert again.is_finished


def test_the_fields_that_are_free_to_differ_are_those_that_leave_the_parameters_shapes_alone():
    changed = {
        "num_layers": 3,
        "hidden_size": 8,
        "dropout_rate": 0.3,
        "recurrent_dropout_rate": 0.3,
        "forget_bias": 0.0,
        "residual": not SMALL.model.residual,
        "dtype": "bfloat16",
        "remat": not SMALL.model.remat,
    }
    assert changed.keys() == {field.name for field in dataclasses.fields(SMALL.model)}

    def shapes(**change):
        one = dataclasses.replace(SMALL, model=dataclasses.replace(SMALL.model, **change))
        return jax.eval_shape(lambda: model.init(model.from_config(one), jax.random.key(0)))

    same = {name for name, value in changed.items() if shapes(**{name: value}) == shapes()}
    assert same == set(training.FREE_MODEL_FIELDS)


def test_a_run_cannot_start_from_another_model(folder, finished, tmp_path):
    with pytest.raises(
        UserError, match=r"give the --config .* set these .*model.residual: True here, False there"
    ):
        training.Trainer(tmp_path, FOLLOWING, folder, start_from=checkpoint.load(finished))
    dtype = dataclasses.replace(
        SMALL,
        model=dataclasses.replace(
            SMALL.model, dtype="bfloat16", dropout_rate=0.0, recurrent_dropout_rate=0.2
        ),
    )
    training.Trainer(tmp_path, dtype, folder, start_from=checkpoint.load(finished))
