import signal

import pytest

from midijax.stopping import StopRequest


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
