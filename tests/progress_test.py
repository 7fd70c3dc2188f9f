import io
import sys

import pytest

from midijax import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_log_gets_a_line_now_and_then_and_one_at_the_end(clock, capsys):
    with progress.bar(total=100, desc="reading", unit="file") as bar:
        assert not capsys.readouterr().err
        for _ in range(40):
            clock[0] += 1
            bar.update()
            bar.refresh()
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("reading: 30/100 [")
        assert "\r" not in line and "file/s" in line
        bar.update()
    assert capsys.readouterr().err.startswith("reading: 41/100 [")


def test_it_passes_on_what_it_goes_through(clock, capsys):
    assert list(progress.bar("abc", desc="letters", unit="letter")) == ["a", "b", "c"]
    assert capsys.readouterr().err.startswith("letters: 3/3 [")


def test_a_log_of_unknown_length_and_large_units(clock, capsys):
    with progress.bar(desc="x.zip", initial=10_000, unit="B", unit_scale=True) as bar:
        bar.update(5_000_000)
    assert capsys.readouterr().err.startswith("x.zip: 5.01M/? [")


def test_what_does_not_stay_leaves_no_last_line(clock, capsys):
    with progress.bar(range(3), leave=False) as bar:
        list(bar)
    assert not capsys.readouterr().err


def test_a_bar_that_is_off_is_silent(clock, capsys):
    with progress.bar(range(3), disable=True) as bar:
        clock[0] += 100
        assert list(bar) == [0, 1, 2]
    assert not capsys.readouterr().err


def test_other_lines_do_not_bring_out_more_of_them(clock, capsys):
    with progress.bar(total=9, desc="training", leave=False) as bar:
        bar.set_postfix_str("loss 3")
        bar.write("step 1: validated")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("step 1: validated\n", "")


def test_a_terminal_gets_a_moving_bar(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress.bar(range(3), desc="reading") as bar:
        list(bar)
    assert "\rreading: 100%|" in terminal.getvalue()
