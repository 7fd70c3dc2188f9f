import dataclasses
import functools

import grain
import jax
import numpy as np
import pytest

from midijax import checkpoint, model
from midijax.checkpoint import METRIC, Checkpoints
from midijax.config import Config, ModelConfig
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN

CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=2, hidden_size=8))


@jax.jit
def initialize(seed):
    return model.init(model.from_config(CONFIG), jax.random.key(seed))


@functools.cache
def params(seed=0):
    return initialize(seed)


def data():
    return iter(grain.MapDataset.range(100).to_iter_dataset())


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def test_restores_parameters_optimizer_and_data_position(tmp_path):
    batches = data()
    consumed = [next(batches) for _ in range(5)]
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    checkpoints.save(5, params(1), {"moment": params(2)}, batches)
    checkpoints.close()

    again = data()
    reopened = Checkpoints(tmp_path, CONFIG, "corpus")
    step, restored, optimizer = reopened.restore(params(0), {"moment": params(0)}, again)
    assert step == 5
    assert_same(restored, params(1))
    assert_same(optimizer, {"moment": params(2)})
    assert next(again) == consumed[-1] + 1


def test_nothing_to_restore_in_a_new_workdir(tmp_path):
    assert Checkpoints(tmp_path, CONFIG, "corpus").restore(params(), {}, data()) is None


def test_keeps_the_latest_and_the_best_and_loads_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    for step, nats in ((1, 3.0), (2, 2.0), (3, None), (4, 2.5)):
        metrics = None if nats is None else {METRIC: nats}
        checkpoints.save(step, params(step), {"moment": params(0)}, data(), metrics)
    checkpoints.close()
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {"2", "4"}
    loaded = checkpoint.load(tmp_path)
    assert (loaded.step, loaded.config) == (2, CONFIG)
    assert loaded.path == tmp_path / "checkpoints" / "2"
    assert_same(loaded.params, params(2))


def test_loads_the_latest_of_a_run_never_validated(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    for step in (1, 2):
        checkpoints.save(step, params(step), {"moment": params(0)}, data())
    checkpoints.close()
    assert checkpoint.load(tmp_path).step == 2


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    checkpoints.save(1, params(1), {"moment": params(0)}, data())
    checkpoints.close()
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-123").mkdir()
    assert checkpoint.load(tmp_path).step == 1


def test_refuses_the_workdir_of_another_config_and_names_the_fields(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    checkpoints.save(1, params(), {"moment": params(0)}, data())
    checkpoints.close()
    other = dataclasses.replace(CONFIG, seed=7, model=ModelConfig(num_layers=2, hidden_size=16))
    with pytest.raises(UserError, match=r"model\.hidden_size: 16 .*8 .*seed: 7 .*0 "):
        Checkpoints(tmp_path, other, "corpus").restore(params(), {"moment": params(0)}, data())


def test_refuses_to_go_on_with_other_data(tmp_path):
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")
    checkpoints.save(1, params(), {"moment": params(0)}, data())
    checkpoints.close()
    with pytest.raises(UserError, match="other data"):
        Checkpoints(tmp_path, CONFIG, "another").restore(params(), {"moment": params(0)}, data())


@pytest.mark.parametrize("folder", ["", "checkpoints"])
def test_a_workdir_without_checkpoint_is_refused_by_name(tmp_path, folder):
    workdir = tmp_path / "run"
    (workdir / folder).mkdir(parents=True)
    with pytest.raises(UserError, match="holds no"):
        checkpoint.load(workdir)


@pytest.mark.parametrize(
    ("change", "mismatch"),
    [
        ({"hidden_size": 16}, r"embedding/embedding is of shape \(389, 8\), .* \(389, 16\)"),
        ({"num_layers": 3}, r"further_layers/bias is of shape \(1, 32\), .* \(2, 32\)"),
        ({"num_layers": 1}, r"further_layers/bias is of shape \(1, 32\), .* None"),
    ],
)
def test_parameters_of_another_shape_than_the_config_says_are_refused(tmp_path, change, mismatch):
    other = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, **change))
    checkpoints = Checkpoints(tmp_path, other, "corpus")
    checkpoints.save(1, params(), {"moment": params(0)}, data())
    checkpoints.close()
    with pytest.raises(UserError, match=rf"checkpoints/1 is damaged: its {mismatch}"):
        checkpoint.load(tmp_path)
