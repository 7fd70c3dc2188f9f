"""Processes to share work among, which end with the one that started them."""

import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.resource_tracker
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any


def new_pool(num_workers: int = 0) -> ProcessPoolExecutor:
    """A pool of fresh processes, deaf to Ctrl-C; one per core if `num_workers` is 0."""
    context = multiprocessing.get_context("spawn")
    pool = _Pool(num_workers or num_cores(), context, initializer=end_with_parent)
    # Else an exit after two Ctrl-C waits for ever to hand work to processes that have ended.
    pool._call_queue.cancel_join_thread()  # type: ignore[attr-defined]
    return pool


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Pool(ProcessPoolExecutor):
    def submit(self, *args: Any, **kwargs: Any) -> Future:
        # By processes that begin here, from their first moment on.
        with held_back(signal.SIGINT):
            return super().submit(*args, **kwargs)


@contextlib.contextmanager
def held_back(*signals: signal.Signals) -> Iterator[None]:
    """Signals reach this thread at the end of the block, and processes started in it never."""
    multiprocessing.resource_tracker.ensure_running()  # lets signals through where it is started
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def end_with_parent() -> None:
    """Has this process end when the one that started it does, even if that is killed."""
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
