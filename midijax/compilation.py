"""Compiled programs kept on disk, so that a command starts at once the second time."""

import os
import tempfile

import jax

from midijax import cache


def enable_compile_cache() -> None:
    """Keeps compiled programs in JAX_COMPILATION_CACHE_DIR, or else in the user's cache folder.

    All of them: a command has a dozen small ones, and to compile each takes longer than to load it.
    Where there is no such folder that can be written to, none is kept.
    """
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR") or _users_folder()
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


def _users_folder() -> str | None:
    try:
        folder = cache.folder() / "jax"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home folder
        return None
