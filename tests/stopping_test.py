import signal

import pytest

from midijax.stopping import Stopped, StopRequest


@pytest.fixture(autouse=True)
def raise_for_sigterm(monkeypatch):
    """What a second SIGTERM would do, but to end the tests."""

    def end(*_):
        raise SystemExit

    previous = signal.signal(signal.SIGTERM, end)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.mark.parametrize(
    ("number", "ends_with"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)]
)
def test_holds_back_the_first_request_and_not_the_second(number, ends_with):
    with StopRequest() as stop_requested:
        assert not stop_requested()
        signal.raise_signal(number)
        assert stop_requested()
        with pytest.raises(ends_with):
            signal.raise_signal(number)


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
