"""A trained model as it is passed on."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import checkpoint, config, export, sample, training
from midijax.config import Config, DataConfig, ModelConfig
from midijax.controls import Controls
from midijax.errors import UserError
from midijax.events import PERFORMANCE_RNN

CONFIG = Config(
    vocabulary=PERFORMANCE_RNN,
    controls=Controls(enabled=True, composers=("Frédéric Chopin",)),
    model=ModelConfig(num_layers=2, hidden_size=16, residual=True),
    data=DataConfig(batch_size=2, num_streams=4),
)


@pytest.fixture
def workdir(tmp_path, save_run):
    return save_run(tmp_path / "run", CONFIG, metrics={checkpoint.METRIC: 2.5})


def test_a_model_is_passed_on_in_half_the_size_and_plays(workdir, tmp_path, run_command):
    folder = tmp_path / "mine"
    code, out, err = run_command(export, f"--workdir={workdir}", f"--output_dir={folder}")
    assert code == 0 and f"--workdir={folder}" in out, err
    ours, theirs = checkpoint.load(workdir), checkpoint.load(folder)
    assert theirs.config == CONFIG and theirs.step == 7
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.astype(jnp.bfloat16), b),
        ours.params,
        theirs.params,
    )
    run = checkpoint.read_run(theirs.path)
    assert run["metrics"] == {checkpoint.METRIC: 2.5}
    code, _, err = run_command(
        sample, f"--workdir={folder}", f"--output_dir={tmp_path / 'out'}", "--seconds=1"
    )
    assert code == 0 and len(list((tmp_path / "out").glob("*.mid"))) == 3, err


def test_nothing_of_the_training_and_no_path_of_the_machine_is_passed_on(
    workdir, tmp_path, run_command
):
    folder = tmp_path / "mine"
    run_command(export, f"--workdir={workdir}", f"--output_dir={folder}")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if "optimizer" in path.parts or "carry" in path.parts]
    assert not [path for path in files if str(tmp_path).encode() in path.read_bytes()]
    assert json.loads((folder / "config.json").read_text())["model"]["hidden_size"] == 16


def test_a_model_is_not_put_over_another(workdir, tmp_path, run_command):
    arguments = (f"--workdir={workdir}", f"--output_dir={tmp_path / 'mine'}")
    run_command(export, *arguments)
    code, _, err = run_command(export, *arguments)
    assert code == 2 and "holds a model already" in err


def test_a_bucket_is_refused(workdir, run_command):
    code, _, err = run_command(export, f"--workdir={workdir}", "--output_dir=s3://bucket/mine")
    assert code == 2 and "name a folder here" in err


def test_a_model_to_play_is_no_run_to_go_on_with(workdir, tmp_path, run_command):
    run_command(export, f"--workdir={workdir}", f"--output_dir={tmp_path / 'mine'}")
    checkpoints = training.Checkpoints(tmp_path / "mine", CONFIG, "nothing")
    with pytest.raises(UserError, match=r"no run to go on with.*--start_from"):
        checkpoints.restore(None)


def test_a_lacking_model_is_told(tmp_path, run_command, monkeypatch):
    monkeypatch.setattr(config, "SHIPPED_WORKDIR", tmp_path / "none")
    code, _, err = run_command(sample, f"--output_dir={tmp_path / 'out'}")
    assert code == 2 and "name one of your own by --workdir" in err
