"""What several test files share: commands run in this process, and small runs on disk."""

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")  # before JAX: on any machine, eight devices are eight

import hypothesis
import jax
import numpy as np
import pytest
from commands import forget_flags

from midijax import cli, compilation, model
from midijax.run_checkpoints import Checkpoints
from midijax.train_step import TrainState

hypothesis.settings.register_profile("long", max_examples=3_000)


@pytest.fixture
def run_command(monkeypatch, capsys):
    """Runs a command module as `python -m` does; returns exit code, output and errors."""
    monkeypatch.setattr(compilation, "enable_compile_cache", lambda: None)

    def run(module, *arguments):
        monkeypatch.setattr(sys, "argv", [module.__file__, *map(str, arguments)])
        forget_flags(module)
        try:
            with pytest.raises(SystemExit) as exit_info:
                cli.run(module.main, module.FLAGS, module.__doc__)
        finally:
            forget_flags(module)
        printed = capsys.readouterr()
        return exit_info.value.code, printed.out, printed.err

    return run


@pytest.fixture(scope="session")
def experiments():
    """The folder of that name."""
    return Path(__file__).parent.parent / "experiments"


@pytest.fixture(scope="session")
def check(experiments):
    """Gives a script of experiments/checks, by name, as a module."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, experiments / "checks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def verify_generated(check):
    """The script of that name, as a module."""
    return check("verify_generated")


@pytest.fixture(scope="session")
def save_run():
    """Makes the workdir of an untrained model, at step 7; `scale` multiplies its parameters."""

    def save(workdir, config, scale=1.0, metrics=None):
        network = model.from_config(config)
        params = jax.jit(lambda key: model.init(network, key))(jax.random.key(0))
        checkpoints = Checkpoints(workdir, config, "nothing")
        checkpoints.save(
            step=7,
            state=TrainState(
                params=jax.tree.map(lambda x: scale * x, params),
                optimizer={"count": np.zeros(())},
                carry=network.initial_carry(1),
            ),
            position={"next_index": 3},
            metrics=metrics,
        )
        checkpoints.close()
        return workdir

    return save
