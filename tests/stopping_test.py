import signal
import subprocess
import sys

import pytest

from midijax.stopping import Stopped, StopRequest

WAIT = """
import numpy, os, time
from midijax.stopping import StopRequest
with StopRequest() as stop_requested:
    print("ready", flush=True)
    while not stop_requested():
        time.sleep(0.01)
    print("stopping", flush=True)
    {work}
"""
DEAF = "numpy.linalg.svd(numpy.ones((3000, 3000)))"  # no Python in there to handle a signal


def wait(work):
    return subprocess.Popen(
        [sys.executable, "-c", WAIT.format(work=work)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_request_lets_work_end(number):
    with wait("print('done')") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.read() == "stopping\ndone\n"
    assert process.returncode == 0


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_ends_the_program_even_where_python_does_not_run(first, second):
    with wait(f"{DEAF}; print('done')") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(second)
        assert process.stdout.read() == ""
    assert process.returncode == 128 + second


def test_other_signals_do_not_count():
    previous = signal.signal(signal.SIGWINCH, lambda *_: None)
    with StopRequest() as stop_requested:
        for _ in range(3):
            signal.raise_signal(signal.SIGWINCH)
        assert not stop_requested()
    signal.signal(signal.SIGWINCH, previous)


def test_leaves_the_signals_as_they_were():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_breaks_off_work_that_can_be_done_again():
    reached = []
    with StopRequest() as stop_requested:
        with pytest.raises(Stopped), stop_requested.breaks_off():
            reached.append("the work")
            signal.raise_signal(signal.SIGTERM)
            reached.append("its end")
        with pytest.raises(Stopped), stop_requested.breaks_off():
            reached.append("more work")
    assert reached == ["the work"]


def test_outside_such_work_a_request_waits():
    with StopRequest() as stop_requested:
        with stop_requested.breaks_off():
            pass
        signal.raise_signal(signal.SIGTERM)
        assert stop_requested()


def test_no_handler_of_failures_takes_a_request_to_stop_for_one():
    with StopRequest() as stop_requested, pytest.raises(Stopped), stop_requested.breaks_off():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            pytest.fail("taken for a failure")
