import os
import subprocess
import sys

import pytest

PROGRAM = """
import jax
from midijax.compilation import enable_compile_cache
enable_compile_cache()
jax.jit(lambda x: x + 1)(1.0)
"""


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"HOME": "."}, ".cache/midijax/jax"),
        ({"XDG_CACHE_HOME": "caches"}, "caches/midijax/jax"),
        ({"XDG_CACHE_HOME": "caches", "JAX_COMPILATION_CACHE_DIR": "mine"}, "mine"),
    ],
)
def test_the_smallest_program_is_kept(tmp_path, variables, folder):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    }
    named = {name: str(tmp_path / value) for name, value in variables.items()}
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, env={**inherited, **named})
    assert any(path.name.startswith("jit") for path in (tmp_path / folder).iterdir())


def test_without_a_home_folder_nothing_is_kept_and_nothing_said():
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env={**inherited, "HOME": "/dev/null"},
        capture_output=True,
        text=True,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
