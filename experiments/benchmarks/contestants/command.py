"""A whole Python command, from its process's start to its end; its compile cache empty or kept."""

import contextlib
import os
import subprocess
import sys
import tempfile

import serve

settings = serve.settings()


def work() -> int:
    """One run."""
    kept = contextlib.nullcontext(settings["cache"])
    with kept if settings["cache"] else tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
        command = [sys.executable, *settings["command"]]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return 1


serve.serve(work)
