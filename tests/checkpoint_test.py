import dataclasses
import functools
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import checkpoint, checksums, model
from midijax.checkpoint import METRIC
from midijax.config import Config, ModelConfig
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN
from midijax.run_checkpoints import Checkpoints
from midijax.train_step import TrainState

CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=2, hidden_size=8))


@jax.jit
def initialize(seed):
    return model.init(model.from_config(CONFIG), jax.random.key(seed))


@functools.cache
def params(seed=0):
    return initialize(seed)


def state(seed=0):
    return TrainState(params(seed), {"moment": params(0)}, (jnp.ones(3), jnp.zeros(3)))


POSITION = {"next_index": 5}


def assert_same(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


def save(workdir, *steps, config=CONFIG, **metrics):
    """Saves the steps, with the loss given for one as `step_2=3.0`."""
    checkpoints = Checkpoints(workdir, config, "corpus")
    for step in steps:
        loss = metrics.get(f"step_{step}")
        scores = None if loss is None else {METRIC: loss}
        checkpoints.save(step, state(step), POSITION, scores)
    checkpoints.close()


def restore(workdir, config=CONFIG, corpus="corpus"):
    checkpoints = Checkpoints(workdir, config, corpus)
    restored = checkpoints.restore(state(0))
    checkpoints.close()
    return restored


def kept(workdir):
    return {path.name for path in (workdir / "checkpoints").iterdir()}


def test_restores_parameters_optimizer_and_data_position(tmp_path):
    save(tmp_path, 5)
    restored = restore(tmp_path)
    assert (restored.step, restored.position, restored.validated) == (5, POSITION, False)
    assert_same(restored.state.params, params(5))
    assert_same(restored.state.optimizer, {"moment": params(0)})


def test_nothing_to_restore_in_a_new_workdir(tmp_path):
    assert restore(tmp_path) is None


def test_a_step_that_is_validated_later_takes_its_own_place(tmp_path):
    save(tmp_path, 1, 2)
    save(tmp_path, 2, step_2=3.0)
    assert restore(tmp_path).validated
    assert kept(tmp_path) == {"1", "2"}


def test_keeps_the_latest_two_and_the_best_and_loads_the_best(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5, step_1=3.0, step_2=2.0, step_4=2.5)
    assert kept(tmp_path) == {"2", "4", "5"}
    loaded = checkpoint.load(tmp_path)
    assert (loaded.step, loaded.config) == (2, CONFIG)
    assert loaded.path == tmp_path / "checkpoints" / "2"
    assert_same(loaded.params, params(2))


def test_loads_the_latest_of_a_run_never_validated(tmp_path):
    save(tmp_path, 9, 10)
    assert checkpoint.load(tmp_path).step == 10


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-123").mkdir()
    assert checkpoint.load(tmp_path).step == 1


@pytest.mark.parametrize("earlier", [(), (1,)])
def test_what_a_kill_left_of_a_checkpoint_is_taken_away(tmp_path, earlier):
    save(tmp_path, *earlier, 2)
    (tmp_path / "checkpoints" / "2" / checksums.NAME).unlink()
    (tmp_path / "checkpoints" / "2.orbax-checkpoint-tmp-123").mkdir()
    (tmp_path / ".saving").write_text("2")
    restored = restore(tmp_path)
    assert (restored and restored.step) == (earlier[0] if earlier else None)
    assert kept(tmp_path) == {str(step) for step in earlier}
    assert not (tmp_path / "damaged").exists()


@pytest.mark.parametrize("cut", ["reload", "save", "sums"])
def test_a_kill_while_a_step_takes_its_own_place_leaves_the_one_it_had(tmp_path, cut, monkeypatch):
    save(tmp_path, 2)
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")

    def kill(*_, **__):
        raise KeyboardInterrupt

    where = (checksums, "write") if cut == "sums" else (checkpoints._manager, cut)
    with monkeypatch.context() as patch:
        patch.setattr(*where, kill)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(2, state(2), POSITION, {METRIC: 3.0})
    with pytest.raises(UserError, match="holds no complete checkpoint yet"):
        checkpoint.load(tmp_path)
    restored = restore(tmp_path)
    assert (restored.step, restored.validated) == (2, False)
    assert_same(restored.state.params, params(2))
    save(tmp_path, 2, step_2=3.0)
    assert restore(tmp_path).validated


def truncate(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


FILES = ("params/manifest.ocdbt", "optimizer/_METADATA", "run/metadata", "metrics/metrics")


@pytest.mark.parametrize("name", [*FILES, checksums.NAME])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, pathlib.Path.unlink])
def test_a_damaged_checkpoint_is_named_set_aside_and_passed_over(tmp_path, capsys, name, damage):
    save(tmp_path, 1, 2, step_1=3.0, step_2=2.0)
    damage(tmp_path / "checkpoints" / "2" / name)
    restored = restore(tmp_path)
    assert restored.step == 1
    assert_same(restored.state.params, params(1))
    sentence = capsys.readouterr().err
    assert f"{tmp_path}/checkpoints/2' is damaged: its file" in sentence
    assert sentence.endswith(f"; it is moved to '{tmp_path}/damaged/2'\n")
    assert sentence.count("\n") == 1 and (name in sentence or name == checksums.NAME)
    save(tmp_path, 2)
    damage(tmp_path / "checkpoints" / "2" / "run" / "metadata")
    assert restore(tmp_path).step == 1
    assert {path.name for path in (tmp_path / "damaged").iterdir()} == {"2", "2-again"}
    save(tmp_path, 2)
    assert restore(tmp_path).step == 2


@pytest.mark.parametrize("name", FILES)
def test_what_is_damaged_is_not_loaded_unless_only_training_needs_it(tmp_path, name):
    save(tmp_path, 1, 2, step_1=3.0, step_2=2.0)
    flip_a_bit(tmp_path / "checkpoints" / "2" / name)
    loaded = checkpoint.load(tmp_path)
    assert loaded.step == (2 if name.startswith("optimizer") else 1)
    assert_same(loaded.params, params(loaded.step))
    assert kept(tmp_path) == {"1", "2"}


def test_where_every_checkpoint_is_damaged_nothing_is_started_afresh(tmp_path):
    save(tmp_path, 1, 2)
    for step in "12":
        (tmp_path / "checkpoints" / step / "params" / "_METADATA").unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="checkpoints/2' is damaged: its file params/_METADATA"):
            restore(tmp_path)
    with pytest.raises(UserError, match="no other there is sound"):
        checkpoint.load(tmp_path)
    assert kept(tmp_path) == {"1", "2"}


def test_a_checkpoint_that_cannot_be_written_leaves_those_before_it(tmp_path, monkeypatch):
    save(tmp_path, 1)
    checkpoints = Checkpoints(tmp_path, CONFIG, "corpus")

    def fill_the_disk(_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checksums, "write", fill_the_disk)
        with pytest.raises(UserError, match=r"step 2 cannot be written .*No space left on device"):
            checkpoints.save(2, state(2), POSITION)
    checkpoints.close()
    assert kept(tmp_path) == {"1"}
    assert restore(tmp_path).step == 1


def test_on_a_full_disk_nothing_is_begun(tmp_path, monkeypatch):
    save(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(2**20, 2**20, 0))
        with pytest.raises(UserError, match=r"step 2 cannot be written .*No space left on device"):
            save(tmp_path, 2)
    assert kept(tmp_path) == {"1"}
    save(tmp_path, 2)
    assert restore(tmp_path).step == 2


def test_refuses_the_workdir_of_another_config_and_names_the_fields(tmp_path):
    save(tmp_path, 1)
    other = dataclasses.replace(CONFIG, seed=7, model=ModelConfig(num_layers=2, hidden_size=16))
    with pytest.raises(UserError, match=r"model\.hidden_size: 16 .*8 .*seed: 7 .*0 "):
        restore(tmp_path, config=other)


def test_refuses_to_go_on_with_other_data(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(UserError, match="other data"):
        restore(tmp_path, corpus="another")


def test_a_run_that_is_refused_moves_nothing(tmp_path, capsys):
    save(tmp_path, 1, 2)
    flip_a_bit(tmp_path / "checkpoints" / "2" / "run" / "metadata")
    with pytest.raises(UserError, match="another config"):
        restore(tmp_path, config=dataclasses.replace(CONFIG, seed=7))
    with pytest.raises(UserError, match="other data"):
        restore(tmp_path, corpus="another")
    assert kept(tmp_path) == {"1", "2"}
    assert capsys.readouterr().err == ""


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
    save(tmp_path, 1, config=other)
    with pytest.raises(UserError, match=rf"checkpoints/1 is damaged: its {mismatch}"):
        checkpoint.load(tmp_path)
