"""Any command line, and files of any name: one sentence at most, and only the outputs written.

What takes long is left out: training, the model's own steps, pictures, downloads. For thousands of
command lines: pytest -n 0 tests/command_lines_test.py --hypothesis-profile=long
"""

import concurrent.futures
import contextlib
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from midijax import (
    atomic,
    checkpoint,
    cli,
    corpus,
    download,
    etudes,
    evaluate,
    explore,
    generate,
    metrics,
    midi,
    plots,
    prepare,
    sample,
    train,
    training,
    workers,
)
from midijax.config import Config, ModelConfig
from midijax.errors import UserError
from midijax.events import OORE_2018
from midijax.plots import piano_roll
from midijax.train import VALIDATION_ETUDES

CONFIG = Config(vocabulary=OORE_2018, model=ModelConfig(num_layers=1, hidden_size=4))
COMMANDS = (explore, prepare, train, sample, evaluate)
PATHS = (
    *("x.mid", "bad.mid", "text.txt", "folder", "empty", "nothing", "run", "corpus", "config.py"),
    *(".", "..", "../new", "new/deep/er", "x.mid/x", "/dev/null/x", "~", "~nobody9", "folder/"),
    *("x.mid,folder", "a" * 300, "né 中", "new\udcff", "n\new", "$x$", "-", " ", "", "*.mid"),
)
NUMBERS = (
    *("0", "1", "2", "-1", "0.5", "1e308", "-1e308", "1e-300", "nan", "inf", "-inf", "1e999"),
    *("9" * 30, "-" + "9" * 30, "0x10", "1_0", "+1", " 1", "\u0661", "1,5", "true", "None"),
)
WORDS = (
    *("--", "-", "--=", "---", "--unknown", "--unknown=1", "-x", "--nojson", "--undefok=unknown"),
    *("--flagfile=", "--flagfile=bad.mid", "--flagfile=text.txt", "--flagfile=nothing", "--help"),
    *("--config.seed=1", "--config.seed=-1", "--config.seed=x", "--config.seed", "--config.=1"),
    *("--config.model=1", "--config.model.hidden_size=0", "--config.model.no=1", "--config..=1"),
    *("--config.optimizer.learning_rate=nan", "--config.data.max_stretch=1e999"),
)
PROGRESS = re.compile(r"\d+/\d+ \[\d+:")
SMALL_TEXT = st.text(st.characters(exclude_characters="/~\0", codec="utf-8"), max_size=5)


def command_lines(flag_values):
    """Lists of arguments, of a command's flags and others."""
    values = st.sampled_from(PATHS) | st.sampled_from(NUMBERS) | SMALL_TEXT
    names = st.sampled_from([name for name in flag_values if name != "flagfile"])
    flags = st.tuples(st.sampled_from(("--", "--", "--", "-", "--no")), names).map("".join)
    assigned = st.tuples(flags, values).map("=".join).map(lambda word: [word])
    apart = st.tuples(flags, values).map(list)
    others = st.one_of(st.sampled_from(WORDS), st.sampled_from(PATHS), SMALL_TEXT)
    single = st.one_of(flags, others).map(lambda word: [word])
    return st.lists(st.one_of(assigned, assigned, apart, single), max_size=6).map(
        lambda groups: [word for group in groups for word in group]
    )


@pytest.fixture(scope="module")
def furnished(tmp_path_factory, save_run):
    """A folder with `home` and with `here`, where there is what PATHS name."""
    folder = tmp_path_factory.mktemp("furnished")
    for name in ("home", "here/empty", "here/folder"):
        (folder / name).mkdir(parents=True)
    here = folder / "here"
    for seed, name in enumerate(("x.mid", "folder/y.mid", "folder/z.MIDI")):
        midi.write(etudes.compose(seed), here / name)
    (here / "bad.mid").write_bytes(b"\xff" * 99)
    (here / "text.txt").write_text("--nothing\n")
    (here / "config.py").write_text("1 / 0")
    etude = corpus.Recording.of("etude", etudes.compose(0))
    corpus.write(here / "corpus", {"train": [etude], "validation": [etude]})
    save_run(here / "run", CONFIG)
    return folder


class UntrainedTrainer:
    step = saved_step = 0
    is_finished = False

    def __init__(self, workdir, config, data, after_save, start_from):
        corpus.open_split(data, "train")

    def run(self, stop_requested, profile_steps):
        return True


def draw_nothing(*arguments, **_):
    path = next(argument for argument in arguments if isinstance(argument, Path))
    with atomic.new_file(path) as partial:
        partial.touch()


def refuse_to_download(*_):
    raise UserError("no network")


@pytest.fixture
def light(monkeypatch, furnished):
    """The commands without what takes long, and without other processes."""
    pieces = [(f"etude-{seed}", etudes.compose(seed)) for seed in range(VALIDATION_ETUDES + 1)]
    loaded, load = checkpoint.load(furnished / "here" / "run"), checkpoint.load
    nothing = metrics.Scores((0.0,) * 4, (0,) * 4, (0,) * 4, 0.0)
    for module, name, stand_in in (
        (etudes, "corpus", lambda: iter(pieces)),
        (training, "Trainer", UntrainedTrainer),
        (checkpoint, "load", lambda path: loaded if str(path) == "run" else load(path)),
        (generate, "_generate", lambda *arguments: np.full((len(arguments[4]), 1), 60)),
        (metrics, "score", lambda *_, **__: nothing),
        (plots, "histogram", draw_nothing),
        (plots, "piano_roll", draw_nothing),
        (workers, "new_pool", concurrent.futures.ThreadPoolExecutor),
        (download, "fetch", refuse_to_download),
    ):
        monkeypatch.setattr(module, name, stand_in)


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")


class Watch:
    """Notes what Python writes to, while `changed` is a set; audit hooks stay for good."""

    def __init__(self):
        self.changed = None

    def __call__(self, event, arguments):
        if self.changed is None:
            return
        if event in CHANGES or (event == "open" and arguments[2] & WRITING):
            paths = arguments[: 2 if event == "os.rename" else 1]
            named = (path for path in paths if not isinstance(path, int))
            self.changed |= {os.path.realpath(os.fsdecode(path)) for path in named}


@pytest.fixture(scope="module")
def watch():
    watch = Watch()
    sys.addaudithook(watch)
    return watch


@pytest.fixture
def visit(furnished, watch, tmp_path, monkeypatch):
    """Works in a fresh copy of the furnished folder; gives what was written to beyond the copy."""
    copy = tmp_path / "copy"
    monkeypatch.setenv("HOME", str(copy / "home"))

    @contextlib.contextmanager
    def visit():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(furnished, copy)
        beyond = []
        with contextlib.chdir(copy / "here"):
            watch.changed = set()
            try:
                yield beyond
            finally:
                changed, watch.changed = watch.changed, None
        allowed = (f"{copy}/", os.devnull)
        beyond += sorted(path for path in changed if not f"{path}/".startswith(allowed))

    return visit


def test_what_is_written_beyond_is_seen(visit, tmp_path):
    with visit() as beyond:
        Path("../inside").mkdir()
        Path("x").touch()
        Path("x").rename(tmp_path / "y")
        (tmp_path / "y").unlink()
        (tmp_path / "z").write_text("")
    assert beyond == [str(tmp_path / "y"), str(tmp_path / "z")]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
@given(data=st.data())
@settings(
    max_examples=settings.default.max_examples // 2,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
def test_any_command_line_ends_in_order(command, data, light, visit, run_command):
    words = data.draw(command_lines(command.FLAGS))
    with visit() as beyond:
        code, _, err = run_command(command, *words)
    assert beyond == []
    event(f"exit code {code}")
    assert code in (0, cli.BAD_INPUT)
    assert "Traceback" not in err
    if code and all(word.isprintable() for word in words):
        assert len([line for line in err.splitlines() if not PROGRESS.search(line)]) == 1, err


HOSTILE_NAMES = (
    *("..\n.mid", "...mid", "..\\up.mid", "--json=stolen.mid", "~.mid", "new\udcff.mid"),
    *("$\\frac$ %s {0}.mid", "\x1b]0;title\x07.mid", f"{'a' * 251}.mid"),
)


@pytest.fixture
def visit_hostile(visit):
    """As `visit`, with a folder `empty` that is full of files with such names."""

    @contextlib.contextmanager
    def visit_hostile():
        with visit() as beyond:
            for name in HOSTILE_NAMES:
                shutil.copy("x.mid", f"empty/{name}")
            before = set(Path().rglob("*"))
            yield beyond
            beyond += [path for path in set(Path().rglob("*")) - before if path.parts[0] != "out"]

    return visit_hostile


def test_whatever_files_are_called_only_the_output_is_written(light, visit_hostile, run_command):
    with visit_hostile() as beyond:
        for command, *words in (
            (explore, "empty", "--json=out/figures.json", "--plots_dir=out/pictures"),
            (prepare, "--input=empty", "--output_dir=out/corpus"),
            (evaluate, "--data=empty", "--json=out/scores.json", "--workdir=run"),
        ):
            code, out, err = run_command(command, *words)
            assert code == 0, err
            assert all(line.isprintable() for line in (out + err).split("\n"))
        assert len(list(Path("out").rglob("*"))) > 8
    assert beyond == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_whatever_a_file_is_called_only_the_output_is_written(
    name, light, visit_hostile, run_command, monkeypatch
):
    with visit_hostile() as beyond:
        played = (sample, f"--primer=empty/{name}", "--output_dir=out/played", "--workdir=run")
        assert run_command(*played)[0] == 0
        monkeypatch.setattr(plots, "piano_roll", piano_roll)
        assert run_command(explore, f"empty/{name}", "--plots_dir=out/pictures")[0] == 0
        assert Path("out/pictures/piano_roll.png").is_file()
    assert beyond == []
