import importlib.machinery
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from midijax import cli
from midijax.errors import TryAgain, UserError

DOC = """Plays the piano.

  python -m midijax.play --hands=2
"""


@pytest.fixture
def flag_values():
    values = flags.FlagValues()
    flags.DEFINE_integer("hands", 2, "How many hands play. " * 8, 1, flag_values=values)
    flags.DEFINE_string("piece", None, "What they play.", flag_values=values)
    flags.DEFINE_bool("pedal", True, "Whether a foot helps.", flag_values=values)
    flags.DEFINE_enum("mood", "sad", ["sad", "glad"], "How it sounds.", flag_values=values)
    flags.DEFINE_list("keys", ["C", "F#"], "In which keys.", flag_values=values)
    return values


@pytest.fixture(autouse=True)
def run_by_name(monkeypatch):
    """As if by `python -m midijax.play`."""
    spec = importlib.machinery.ModuleSpec("midijax.play", None)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", spec)


def run(monkeypatch, flag_values, main, *arguments):
    """The exit code."""
    monkeypatch.setattr(sys, "argv", ["/somewhere/midijax/play.py", *arguments])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(main, flag_values, DOC)
    return exit_info.value.code


def never(arguments):
    raise AssertionError("must not be called")


def test_flags_are_parsed_and_the_rest_is_handed_on_in_order(monkeypatch, flag_values):
    seen = []

    def main(arguments):
        seen.append((flag_values.hands, flag_values.piece, flag_values.pedal, arguments))

    words = ["b.mid", "--hands=1", "--config.seed=3", "--nopedal", "--piece", "x", "a.mid"]
    assert run(monkeypatch, flag_values, main, *words) == 0
    assert seen == [(1, "x", False, ["b.mid", "--config.seed=3", "a.mid"])]


@pytest.mark.parametrize(
    ("words", "hands"),
    [
        (["--hands", "5"], 5),
        (["--hands=1", "--hands=3"], 3),
        (["-hands=4"], 4),
        (["--hands=+2"], 2),
    ],
)
def test_a_flag_has_many_forms_and_the_last_counts(monkeypatch, flag_values, words, hands):
    seen = []
    assert run(monkeypatch, flag_values, lambda _: seen.append(flag_values.hands), *words) == 0
    assert seen == [hands]


@pytest.mark.parametrize("code", [0, 1, 75])
def test_the_exit_code_is_that_of_the_command(monkeypatch, flag_values, code):
    assert run(monkeypatch, flag_values, lambda _: code) == code


def test_a_user_error_is_one_sentence_and_exit_code_two(monkeypatch, flag_values, capsys):
    def main(arguments):
        raise UserError("'x.mid' has no notes; choose another")

    assert run(monkeypatch, flag_values, main) == 2
    printed = capsys.readouterr()
    assert printed.err == "midijax.play: 'x.mid' has no notes; choose another\n"
    assert not printed.out


def test_what_may_work_later_is_one_sentence_and_exit_code_75(monkeypatch, flag_values, capsys):
    def main(arguments):
        raise TryAgain("the network is gone")

    assert run(monkeypatch, flag_values, main) == 75
    assert capsys.readouterr().err == "midijax.play: the network is gone\n"


def test_ctrl_c_is_one_line_and_exit_code_130(monkeypatch, flag_values, capsys):
    def main(arguments):
        raise KeyboardInterrupt

    assert run(monkeypatch, flag_values, main) == 130
    assert capsys.readouterr().err == "midijax.play: stopped\n"


def test_a_script_is_called_by_its_file(monkeypatch, flag_values, capsys):
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert run(monkeypatch, flag_values, never, "--hands=two") == 2
    assert capsys.readouterr().err.startswith("play.py: ")


@pytest.mark.parametrize(
    "flag",
    ["--hands=two", "--hands=0", "--pedal=perhaps", "--nopedal=1", "--mood=x", "--piece"],
)
def test_a_flag_that_does_not_parse_is_one_sentence_too(monkeypatch, flag_values, capsys, flag):
    assert run(monkeypatch, flag_values, never, flag) == 2
    printed = capsys.readouterr().err
    assert flag.strip("-").partition("=")[0] in printed
    assert "Traceback" not in printed


def test_a_flagfile_that_is_no_text_is_one_sentence(monkeypatch, flag_values, capsys, tmp_path):
    (tmp_path / "x.mid").write_bytes(b"\xff")
    assert run(monkeypatch, flag_values, never, f"--flagfile={tmp_path}/x.mid") == 2
    assert "--flagfile is no text" in capsys.readouterr().err


def test_a_name_that_is_no_text_is_printed(monkeypatch, flag_values, capsys):
    def main(arguments):
        print(*arguments)
        raise UserError(f"'{arguments[0]}' is no piece")

    assert run(monkeypatch, flag_values, main, "x\udcff.mid") == 2
    printed = capsys.readouterr()
    assert printed.out == "x\\udcff.mid\n" and r"'x\udcff.mid'" in printed.err


def test_other_errors_are_not_hidden(monkeypatch, flag_values):
    def main(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["play.py"])
    with pytest.raises(ZeroDivisionError):
        cli.run(main, flag_values, DOC)


@pytest.mark.parametrize("word", ["--help", "-h", "--helpfull"])
def test_help_comes_first_whatever_else_is_said(monkeypatch, flag_values, capsys, word):
    assert run(monkeypatch, flag_values, never, "--hands=two", word) == 0
    assert "Plays the piano." in capsys.readouterr().out


def test_help_tells_every_flag_with_its_default_and_no_other(flag_values):
    text = cli.help_text(flag_values, DOC)
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("  --")] == [
        "  --hands",
        "  --piece",
        "  --[no]pedal",
        "  --mood=sad|glad",
        "  --keys",
    ]
    assert "Whether a foot helps. (default: true)" in text
    assert "      How it sounds. (default: sad)" in text
    assert "In which keys. (default: C,F#)" in text
    assert "What they play.\n" in text
    assert max(map(len, lines)) <= cli.HELP_WIDTH
    assert not text.endswith("\n")


def test_reject():
    cli.reject([], [])
    with pytest.raises(UserError, match=r"'--temprature=1'; --help lists"):
        cli.reject(["--temprature=1", "x"], ["seed"])


@pytest.mark.parametrize("argument", ["--moood=sad", "--moood", "-moood=1", "moood"])
def test_a_misspelt_flag_gets_the_one_that_may_be_meant(flag_values, argument):
    with pytest.raises(UserError, match=rf"unknown argument '{argument}'; did you mean --mood\?"):
        cli.reject([argument], flag_values)


def test_a_reader_that_goes_away_is_no_error():
    program = (
        "from absl import flags; from midijax import cli\n"
        "def main(arguments):\n    print('x' * 1_000_000)\n"
        "cli.run(main, flags.FlagValues(), '')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.read(1)
        process.stdout.close()
        errors = process.stderr.read()
    assert errors == b""
    assert process.returncode == 1


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/clara")
    assert cli.path("~/music") == Path("/home/clara/music")
    assert cli.path("music/~x") == Path("music/~x")
    with pytest.raises(UserError, match=r"'~no\.such\.user/music' names no home folder"):
        cli.path("~no.such.user/music")


def test_a_path_that_cannot_be_is_one_sentence():
    with pytest.raises(UserError, match=r"'a+' cannot be looked for: File name too long"):
        cli.path("a" * 300)


@pytest.mark.parametrize("command", ["train", "prepare", "evaluate", "sample", "explore"])
def test_help_does_not_wait_for_jax(command):
    program = (
        f"import sys\nfrom midijax import {command}\n"
        "print(*({'jax', 'matplotlib'} & sys.modules.keys()))"
    )
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (imported.returncode, imported.stdout) == (0, "\n")
