"""Every flag of every command: out of its range, contradicted, empty, with no place to write to.

Whatever is wrong is told in one sentence, with exit code 2, before any work is begun. The tests
walk over the flags that there are, so that a new one has to be bounded or put into a table here.
"""

import dataclasses
import os

import pytest
from absl import flags

from midijax import (
    checkpoint,
    cli,
    config,
    download,
    etudes,
    evaluate,
    explore,
    export,
    prepare,
    sample,
    train,
    workers,
)

COMMANDS = {
    "prepare": prepare,
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "explore": explore,
    "export": export,
}
OUTPUT_FOLDERS = [
    ("prepare", "output_dir"),
    ("prepare", "cache_dir"),
    ("train", "workdir"),
    ("sample", "output_dir"),
    ("evaluate", "report_dir"),
    ("explore", "plots_dir"),
    ("export", "output_dir"),
]
OUTPUT_FILES = [("evaluate", "json"), ("explore", "json")]
INPUTS = [
    ("prepare", "input"),
    ("train", "data"),
    ("train", "config"),
    ("train", "start_from"),
    ("export", "workdir"),
    ("sample", "workdir"),
    ("sample", "primer"),
    ("evaluate", "workdir"),
    ("evaluate", "data"),
]
CHOICES = [
    ("prepare", "dataset"),
    ("prepare", "runner"),
    ("sample", "include_primer"),
    *(("sample", name) for name in ("notes_per_second", "pitch_classes", "loudness", "composer")),
    ("evaluate", "split"),
    *((command, "distributed") for command in ("train", "sample", "evaluate")),
    *((command, "coordinator_address") for command in ("train", "sample", "evaluate")),
]

NO_NUMBERS = ["", "five", "1,5", "0x", "-", "nan", "-nan", "inf", "-inf", "1e999"]
OUT_OF_RANGE = ["1e30", "-1e30", str(10**30), str(-(10**30)), "9" * 400]
NO_FOLDERS = [
    "/dev/null",
    "/dev/null/x/y",
    "/proc/x",
    "/proc/self/x/y",
    "file",
    "file/x/y",
    "loop/x",
    f"{'n' * 300}/x",
]
NO_FILES = ["/", ".", "pipe", "/dev/null/x", *NO_FOLDERS]


class Begun(Exception):
    """Work was begun."""


@pytest.fixture(autouse=True)
def no_work(monkeypatch, tmp_path):
    """Where the commands' work begins, `Begun` is raised."""

    def begin(*_, **__):
        raise Begun

    for module, name in (
        (checkpoint, "load"),
        (download, "_complete"),
        (etudes, "corpus"),
        (explore, "_survey_files"),
        (train, "_train"),
    ):
        monkeypatch.setattr(module, name, begin)
    monkeypatch.setattr(config, "SHIPPED_WORKDIR", tmp_path)
    (tmp_path / "file").write_text("dear diary")
    (tmp_path / "x.mid").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def refused(run_command, tmp_path):
    """Runs a command that must refuse; returns its sentence."""

    def run(command, *arguments):
        before = sorted(tmp_path.rglob("*"))
        code, out, err = run_command(COMMANDS[command], *arguments)
        assert (code, out) == (cli.BAD_INPUT, ""), (arguments, err)
        assert err.endswith("\n") and err[:-1].isprintable(), err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def named_flags():
    return [(command, name) for command, module in COMMANDS.items() for name in module.FLAGS]


def numbers():
    parsers = (flags.IntegerParser, flags.FloatParser)
    return [
        (command, name)
        for command, name in named_flags()
        if isinstance(COMMANDS[command].FLAGS[name].parser, parsers)
    ]


def config_fields(node=config.TINY, prefix="config."):
    """Each field of the config with a value for it."""
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            yield from config_fields(value, f"{prefix}{field.name}.")
        elif not isinstance(value, tuple):  # of names, any will do
            yield prefix + field.name, value


CONFIG_FIELDS = dict(config_fields())
NEGATIVE_FIELDS = {"config.model.forget_bias"}


def test_every_flag_is_of_a_known_kind():
    known = {*OUTPUT_FOLDERS, *OUTPUT_FILES, *INPUTS, *CHOICES, *numbers()}
    assert known == set(named_flags())
    assert {type(value) for value in CONFIG_FIELDS.values()} == {int, float, str, bool}


@pytest.mark.parametrize(("command", "flag"), numbers())
def test_every_number_is_bounded(refused, command, flag):
    for value in (*NO_NUMBERS, *OUT_OF_RANGE, "-1", "-0.5"):
        assert flag in refused(command, f"--{flag}={value}")


@pytest.mark.parametrize(
    ("command", "flag", "value"),
    [
        ("prepare", "validation_fraction", 0.901),
        ("prepare", "seed", 2**32),
        ("prepare", "num_workers", 8 * workers.num_cores() + 1),
        ("sample", "num_performances", 0),
        ("sample", "seconds", 0),
        ("sample", "seconds", 86_401),
        ("sample", "num_events", 0),
        ("sample", "seed", 2**32),
        ("sample", "temperature", 100.1),
        ("sample", "top_k", 2**31),
        ("sample", "top_p", 0),
        ("sample", "top_p", 1.001),
        ("sample", "min_p", 1),
        ("sample", "max_note_seconds", 0),
        ("sample", "max_note_seconds", 3601),
        ("sample", "primer_seconds", 0),
        ("evaluate", "batch_size", 0),
        ("evaluate", "num_generated", 10_001),
        ("evaluate", "generated_seconds", 0.9),
        ("evaluate", "drift_seconds", 119),
        ("evaluate", "drift_seconds", 3601),
        ("evaluate", "seed", 2**32 - 10_000),
    ],
)
def test_a_number_just_out_of_its_range_is_refused(refused, command, flag, value):
    assert flag in refused(*flag_for(command, flag, value))


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("prepare", []),
        ("prepare", ["--validation_fraction=0", "--seed=0", "--num_workers=0"]),
        ("prepare", ["--validation_fraction=0.9", f"--seed={2**32 - 1}", "--num_workers=1"]),
        ("prepare", ["--dataset=maestro-v3", "--cache_dir=cache"]),
        ("train", []),
        ("sample", []),
        ("sample", ["--temperature=0", "--top_k=0", "--top_p=1", "--min_p=0", "--seed=0"]),
        ("sample", ["--seconds=86400", "--max_note_seconds=3600", "--num_performances=1"]),
        ("sample", ["--primer=x.mid", "--primer_seconds=0.1", "--noinclude_primer"]),
        ("evaluate", []),
        ("evaluate", ["--max_performances=0", "--max_events=0", "--batch_size=1"]),
        ("evaluate", ["--json=new/deep/scores.json"]),
        ("evaluate", ["--json=file"]),
        ("evaluate", ["--num_generated=1", "--drift_seconds=120", "--report_dir=new/report"]),
        ("evaluate", ["--num_generated=10000", "--drift_seconds=0", "--generated_seconds=3600"]),
        ("explore", []),
        ("explore", ["x.mid", "--json=file"]),
        ("explore", ["--json=new/figures.json", "--plots_dir=new/plots"]),
    ],
)
def test_the_bounds_themselves_are_let_through(run_command, command, arguments):
    with pytest.raises(Begun):
        run_command(COMMANDS[command], *arguments)


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("prepare", ["--input=x.mid", "--dataset=maestro-v3"], "exclude each other"),
        ("prepare", ["--cache_dir=cache"], "--dataset"),
        ("prepare", ["--runner=DirectRunner", "--num_workers=2"], "--num_workers"),
        ("prepare", ["--input="], "--input is empty"),
        ("prepare", ["--input=.", "--output_dir=."], "lies in '.'"),
        ("prepare", ["--input=.", "--output_dir=deep/er"], "lies in '.'"),
        ("prepare", ["--input=."], "lies in '.'"),
        ("prepare", ["--input=x.mid,..", "--output_dir=new"], "lies in '..'"),
        ("prepare", ["--input=x.mid", "--output_dir=x.mid"], "lies in 'x.mid'"),
        ("prepare", ["--input=loop", "--output_dir=loop"], "lies in 'loop'"),
        ("sample", ["--primer_seconds=3"], "--primer_seconds is of a primer"),
        ("sample", ["--noinclude_primer"], "--include_primer is of a primer"),
        ("sample", ["--include_primer"], "--include_primer is of a primer"),
        ("sample", ["--guidance=2"], "--guidance is of what is asked"),
        ("export", ["--workdir=x"], "--output_dir is missing"),
        ("evaluate", ["--data=x.mid", "--json=x.mid"], "--json=x.mid is what is to be read"),
        ("evaluate", ["--data=x.mid", "--json=./../*/x.mid"], "--json"),
        ("evaluate", ["--report_dir=new"], "--report_dir is of generated music"),
        ("evaluate", ["--temperature=1"], "--temperature is of generated music"),
        ("explore", ["x.mid", "--json=x.mid"], "--json=x.mid is what is to be read"),
        ("explore", ["x.mid", "--json=a", "--plots_dir=a"], "in the way of --plots_dir"),
        ("explore", ["x.mid", "--json=a", "--plots_dir=a/b"], "in the way of --plots_dir"),
    ],
)
def test_flags_that_contradict_each_other_are_told(refused, tmp_path, command, arguments, told):
    arguments = [argument.replace("*", tmp_path.name) for argument in arguments]
    assert told in refused(command, *arguments)


def flag_for(command, flag, value):
    """The command line, with what else it takes for the flag to be looked at."""
    also = {
        "cache_dir": ["--dataset=maestro-v3"],
        "primer": ["--primer_seconds=3"],
        "output_dir": ["--workdir=x"] if command == "export" else [],
        "workdir": ["--output_dir=new"] if command == "export" else [],
        "report_dir": ["--num_generated=1"],
        "drift_seconds": ["--num_generated=1"],
    }
    return command, f"--{flag}={value}", *also.get(flag, [])


@pytest.mark.parametrize(("command", "flag"), OUTPUT_FOLDERS)
def test_a_folder_that_cannot_be_written_to_is_found_first(refused, command, flag):
    for value in NO_FOLDERS:
        refused(*flag_for(command, flag, value))


@pytest.mark.parametrize(("command", "flag"), OUTPUT_FILES)
def test_a_file_that_cannot_be_written_is_found_first(refused, command, flag):
    for value in NO_FILES:
        if value != "file":
            sentence = refused(*flag_for(command, flag, value))
            assert f"--{flag}={value}" in sentence or f"'{value}' cannot be" in sentence


@pytest.mark.parametrize(("command", "flag"), [*OUTPUT_FOLDERS, *OUTPUT_FILES, *INPUTS])
def test_an_empty_path_is_refused(refused, command, flag):
    assert "empty" in refused(*flag_for(command, flag, ""))


@pytest.mark.parametrize(("command", "flag"), named_flags())
def test_a_misspelt_flag_is_refused_with_the_one_that_may_be_meant(refused, command, flag):
    assert f"did you mean --{flag}?" in refused(command, f"--{flag[0]}{flag}=1")


@pytest.mark.parametrize("field", CONFIG_FIELDS)
def test_every_field_of_the_config_is_bounded(refused, field):
    values = [*NO_NUMBERS, *OUT_OF_RANGE]
    values += [] if field in NEGATIVE_FIELDS else ["-1", "-0.5"]
    for value in values:
        assert field.removeprefix("config.") in refused("train", f"--{field}={value}")


@pytest.mark.parametrize("value", ["", "yes", "2", "-1", "None"])
def test_a_field_that_is_true_or_false_is_nothing_else(refused, value):
    assert "model.remat" in refused("train", f"--config.model.remat={value}")
