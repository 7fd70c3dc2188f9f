"""Runs `midijax.sample`, or `midijax.train` to its first step, with each part timed.

Its argument, JSON, holds the command and its arguments, the time at which the process was started,
and a file to write the seconds of each part to. What is compiled is run once more, to tell
compilation (or loading from the cache) from the run.
"""

import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

settings = json.loads(sys.argv[1])
seconds: dict[str, float] = {}


def timed(stage: str, function: Callable) -> Callable:
    """The same function, its seconds added to the stage's."""

    def run(*args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = function(*args, **kwargs)
        seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
        return result

    return run


def replace(module: ModuleType, name: str, function: Callable) -> None:
    """Puts a function in the place of a module's."""
    setattr(module, name, function)


def sample() -> None:
    """The whole command."""
    from midijax import atomic, checkpoint, generate, midi, plots
    from midijax import sample as command

    command.FLAGS(["sample", *settings["arguments"]])
    seconds["Python and imports"] = time.time() - settings["started"]
    first, second = timed(FIRST, generate.generate), timed(SECOND, generate.generate)
    replace(checkpoint, "load", timed("checkpoint", checkpoint.load))
    replace(generate, "generate", lambda *args: (first(*args), second(*args))[0])
    replace(midi, "write", timed("MIDI file", midi.write))
    replace(plots, "piano_roll", timed("picture", plots.piano_roll))
    replace(atomic, "write_text", timed("JSON file", atomic.write_text))
    command.main([])


def train() -> None:
    """Up to the first step's end."""
    import jax

    from midijax import train as command
    from midijax import training

    make_train_steps = training.make_train_steps

    def make_two_steps(*args: Any) -> Callable:
        steps = make_train_steps(*args)
        first, second = (
            timed(stage, lambda *args: jax.block_until_ready(steps(*args)))
            for stage in (FIRST, SECOND)
        )

        def take_two(state: Any, batches_K: Any, step: int) -> None:
            second(first(state, batches_K, step)[0], batches_K, step)
            raise SystemExit

        return take_two

    arguments = command.FLAGS(["train", *settings["arguments"]], known_only=True)[1:]
    seconds["Python and imports"] = time.time() - settings["started"]
    replace(training, "make_train_steps", make_two_steps)
    replace(training, "Trainer", timed("data, parameters, optimizer", training.Trainer))
    with contextlib.suppress(SystemExit), contextlib.redirect_stderr(io.StringIO()):
        command.main(arguments)


FIRST, SECOND = "compile or load", "run"
{"sample": sample, "train": train}[settings["command"]]()
seconds[FIRST] -= seconds[SECOND]
Path(settings["output"]).write_text(json.dumps(seconds))
