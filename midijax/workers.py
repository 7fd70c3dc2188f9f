"""Processes to share work among, which end with the one that started them."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor


def new_pool(num_workers: int = 0) -> ProcessPoolExecutor:
    """A pool of fresh processes; one per core if `num_workers` is 0."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(num_workers or num_cores(), context, initializer=_begin)
    # Else an exit after two Ctrl-C waits for ever to hand work to processes that have ended.
    pool._call_queue.cancel_join_thread()  # type: ignore[attr-defined]
    return pool


def num_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin() -> None:
    """Leaves Ctrl-C to the parent, and ends with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
