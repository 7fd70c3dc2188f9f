"""Several processes as one run: JAX joins them, and they stop and end together.

A job starts the same command on every host, with one flag more:

  python -m midijax.train --distributed ...

JAX finds the other processes in what Slurm, Kubernetes, Open MPI or a TPU pod tells each of them.
Elsewhere three flags say it; the process with the id 0 listens at the address:

  --coordinator_address=10.0.0.1:2000 --num_processes=2 --process_id=0
"""

import atexit
import contextlib
import dataclasses
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
from absl import flags

from midijax import cli
from midijax.errors import UserError, in_one_line, require
from midijax.stopping import TRY_AGAIN, StopRequest

JOIN_SECONDS = 300  # until all processes must have come
HEARTBEAT_SECONDS = 60  # without a sign of life until a process counts as dead, and all end
LAST_WORDS_SECONDS = 3  # from an error of the primary to its end, which ends the others at once
_PLACE = ("coordinator_address", "num_processes", "process_id")


def define_flags(flag_values: flags.FlagValues) -> None:
    """Adds the flags that `joined` reads to those of a command."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "Join the other processes of this job, as Slurm, Kubernetes, Open MPI or a TPU pod tells "
        "of them.",
        flag_values=flag_values,
    )
    flags.DEFINE_string(
        "coordinator_address",
        None,
        "Without such a system: HOST:PORT at which process 0 listens, the same for all.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_processes", None, "And how many processes there are.", flag_values=flag_values
    )
    flags.DEFINE_integer(
        "process_id", None, "And which of them this is, from 0 on.", flag_values=flag_values
    )


@dataclasses.dataclass(frozen=True)
class Processes:
    """Those of a job, of which this is one.

    Attributes:
      index: which, from 0 on.
      count: how many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def is_primary(self) -> bool:
        """Whether it is this one that writes and tells what all have come to."""
        return self.index == 0

    @contextlib.contextmanager
    def primary_first(self) -> Iterator[None]:
        """Runs its block in the primary, then in the others: what it makes, they find."""
        if not self.is_primary:
            self._meet()
        yield
        if self.is_primary and self.count > 1:
            self._meet()

    def stop_request(self) -> StopRequest:
        """Notes requests to stop, whichever process they reach; all are told so at the same call.

        They must ask equally often.
        """
        return StopRequest() if self.count == 1 else _SharedStopRequest()

    def _meet(self) -> None:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices("midijax")


@contextlib.contextmanager
def joined(flag_values: flags.FlagValues, stop_together: bool = False) -> Iterator[Processes]:
    """Runs its block as one of the processes that the flags name; alone if they name none.

    All leave the block together. If one fails in it, that one ends at once, and the others as soon
    as they miss it, after HEARTBEAT_SECONDS at the latest.

    Args:
      flag_values: a command's flags, with those of `define_flags`.
      stop_together: whether SIGTERM is left to `stop_request`; if not, it ends the process.

    Raises:
      UserError: flags that contradict each other, or no such job. If not all processes come within
        JOIN_SECONDS, the program ends with a sentence and the exit code TRY_AGAIN.
    """
    place = _place(flag_values)
    if place is None:
        yield Processes()
        return
    import jax  # after --help and bad flags

    jax.config.update("jax_enable_preemption_service", stop_together)
    _join(place)
    processes = Processes(jax.process_index(), jax.process_count())
    try:
        yield processes
        processes._meet()
    except BaseException as error:
        atexit.register(_end, cli.exit_code(error), processes.is_primary)
        raise


def from_primary(value: Any) -> Any:
    """What the primary passes for `value`, which JSON can hold; every process must call it."""
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = multihost_utils.broadcast_one_to_all(np.resize(text, size))
    return json.loads(bytes(np.asarray(sent)))


class _SharedStopRequest(StopRequest):
    """JAX's agreement when to stop. It hears SIGTERM itself, so Ctrl-C is handed on as that."""

    _signals = (signal.SIGINT,)

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0

    def __call__(self) -> bool:
        """Whether to stop; True once, within a second or two of a request."""
        from jax.experimental import multihost_utils

        self._calls += 1
        return multihost_utils.reached_preemption_sync_point(self._calls)

    @contextlib.contextmanager
    def breaks_off(self) -> Iterator[None]:
        """Breaks nothing off, for the processes would part ways: a request waits for the end."""
        yield

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGTERM)


def _place(flag_values: flags.FlagValues) -> dict[str, Any] | None:
    """What `jax.distributed.initialize` is to be told; None if there is nothing to join."""
    given: dict[str, Any] = {name: flag_values[name].value for name in _PLACE}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == len(_PLACE):
        return {} if flag_values["distributed"].value else None
    if flag_values["distributed"].value:
        raise UserError(
            "--distributed finds the other processes by itself; "
            f"give either it or {_spoken(_PLACE)}"
        )
    if missing:
        raise UserError(f"{_spoken(missing)} missing: {_spoken(_PLACE)} belong together")
    address, count, index = given.values()
    host, _, port = address.rpartition(":")
    valid = bool(host) and port.isdecimal() and 0 < int(port) < 2**16
    require(valid, "--coordinator_address", address, "HOST:PORT, as in 10.0.0.1:2000")
    require(count >= 1, "--num_processes", count, "at least 1")
    require(0 <= index < count, "--process_id", index, f"from 0 to {count - 1}, one for each")
    return given


def _spoken(names: tuple[str, ...] | list[str]) -> str:
    *first, last = (f"--{name}" for name in names)
    return f"{', '.join(first)} and {last}" if first else last


def _join(place: dict[str, Any]) -> None:
    import jax

    where = place.get("coordinator_address", "the address that the job names")
    if place.get("process_id") == 0:
        _check_free(int(where.rpartition(":")[2]))
    give_up = threading.Timer(JOIN_SECONDS, _give_up, [where])  # JAX itself would abort
    give_up.daemon = True
    give_up.start()
    try:
        jax.distributed.initialize(
            **place,
            initialization_timeout=2 * JOIN_SECONDS,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except ValueError as error:
        raise UserError(
            f"--distributed finds no job here ({error}); start the command by Slurm, Kubernetes, "
            f"Open MPI or on a TPU pod, or give {_spoken(_PLACE)}"
        ) from error
    except (RuntimeError, OSError) as error:
        raise UserError(f"cannot join other processes at {where}: {in_one_line(error)}") from error
    finally:
        give_up.cancel()


def _check_free(port: int) -> None:
    """Raises UserError if process 0 cannot listen at the port; JAX may crash then."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise UserError(
            f"process 0 cannot listen at port {port} of --coordinator_address: {error.strerror}; "
            "choose another port"
        ) from error


def _give_up(where: str) -> None:
    sentence = (
        f"not all processes met at {where} within {JOIN_SECONDS} seconds; "
        "see that each was started, that the address is that of process 0, and that no firewall "
        "is between them"
    )
    print(sentence, file=sys.stderr, flush=True)
    os._exit(TRY_AGAIN)


def _end(code: int, is_primary: bool) -> None:
    """Ends a process that failed; JAX would have it wait for the others, and abort."""
    sys.stdout.flush()
    sys.stderr.flush()
    if is_primary:
        time.sleep(LAST_WORDS_SECONDS)
    os._exit(code)
