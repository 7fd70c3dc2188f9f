"""A trace of training steps, for Perfetto (ui.perfetto.dev) and XProf."""

from pathlib import Path
from typing import Any

import jax

UNTRACED_DISPATCHES = 2  # the first compiles, the second meets cold caches


class Profile:
    """Traces `num_steps` steps of a run into a folder; nothing if that is 0."""

    def __init__(self, folder: Path, num_steps: int):
        """The folder is made when the trace is written."""
        self._folder = folder
        self._steps_left = num_steps
        self._dispatches = 0
        self._running = False

    def after_dispatch(self, num_steps: int, state: Any) -> bool:
        """Begins or ends the trace if it is time, ending it when the device has computed `state`.

        Returns whether the trace is written now.
        """
        self._dispatches += 1
        if self._running:
            self._steps_left -= num_steps
            if self._steps_left <= 0:
                jax.block_until_ready(state)
                self._end()
                return True
        elif self._steps_left > 0 and self._dispatches == UNTRACED_DISPATCHES:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder, create_perfetto_trace=True)
            self._running = True
        return False

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._running:
            self._end()

    def _end(self) -> None:
        self._running = False
        jax.profiler.stop_trace()
