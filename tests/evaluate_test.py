import json
import math
import sys

import grain
import jax
import numpy as np
import pytest

from midijax import cli, config, corpus, etudes, evaluate, midi
from midijax.checkpoint import Checkpoints
from midijax.config import Config, ModelConfig
from midijax.events import PERFORMANCE_RNN
from midijax.model import from_config, init

CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=4))
NUM_ETUDES = 3


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A model that finds every event equally likely, and the études it was trained on."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    params = init(from_config(CONFIG), jax.random.key(0))
    knows_nothing = jax.tree.map(np.zeros_like, params)
    checkpoints = Checkpoints(folder, CONFIG, "études")
    data = iter(grain.MapDataset.range(1).to_iter_dataset())
    checkpoints.save(7, knows_nothing, {"steps": np.zeros(())}, data, {"nats_per_event": 5.0})
    checkpoints.close()
    recordings = [corpus.Recording.of(f"{i}", etudes.compose(i)) for i in range(NUM_ETUDES)]
    corpus.write(folder / "etudes", {"train": recordings[:1], "validation": recordings[1:]})
    return folder


@pytest.fixture(scope="module")
def midi_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("midi")
    for i in range(NUM_ETUDES):
        midi.write(etudes.compose(i), folder / f"{i}.mid")
    return folder


def run(monkeypatch, *arguments):
    """The command's exit code."""
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_info:
        cli.run(evaluate.main, evaluate.FLAGS, evaluate.__doc__)
    for name in evaluate.FLAGS:
        evaluate.FLAGS[name].unparse()
    return exit_info.value.code


def reported(monkeypatch, tmp_path, *arguments):
    path = tmp_path / "deep" / "scores.json"
    assert run(monkeypatch, f"--json={path}", *arguments) == 0
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.json"]
    return json.loads(path.read_text())


def num_events(*seeds):
    return sum(len(PERFORMANCE_RNN.encode(etudes.compose(seed))) for seed in seeds)


def test_measures_the_etudes_of_the_run(monkeypatch, tmp_path, workdir, capsys):
    report = reported(monkeypatch, tmp_path, f"--workdir={workdir}")
    assert report["step"] == 7
    assert report["checkpoint"].startswith(str(workdir))
    assert report["split"] == "validation"
    assert report["performances"] == 2
    assert report["vocabulary"]["steps_per_second"] == 100
    for protocol in ("whole", "crops"):
        scores = report[protocol]
        assert scores["events"] == num_events(1, 2)
        assert scores["nats_per_event"] == pytest.approx(math.log(388), rel=1e-6)
        assert scores["by_kind"]["note_on"]["count"] == sum(
            len(etudes.compose(seed).apply_sustain().notes) for seed in (1, 2)
        )
    printed = capsys.readouterr().out
    assert f"{math.log(388):.4f}" in printed
    assert "2 performances" in printed


def test_a_folder_of_midi_files_skips_what_it_cannot_read(
    monkeypatch, tmp_path, workdir, midi_folder, capsys
):
    broken = midi_folder / "broken.mid"
    broken.write_bytes(b"no music")
    arguments = f"--workdir={workdir}", f"--data={midi_folder}"
    report = reported(monkeypatch, tmp_path, *arguments)
    broken.unlink()
    assert report["performances"] == NUM_ETUDES
    assert report["whole"]["seconds"] == pytest.approx(
        sum(etudes.compose(seed).apply_sustain().duration for seed in range(3)), abs=0.1
    )
    assert [skip["name"].endswith("broken.mid") for skip in report["skipped"]] == [True]
    assert "broken.mid" in capsys.readouterr().err


def test_a_table_beside_midi_files_says_which_belong_to_the_split(
    monkeypatch, tmp_path, workdir, midi_folder
):
    table = midi_folder / "table.csv"
    table.write_text("split,midi_filename\ntrain,0.mid\nvalidation,1.mid\ntest,2.mid\n")
    arguments = f"--workdir={workdir}", f"--data={midi_folder}", "--split=test"
    report = reported(monkeypatch, tmp_path, *arguments)
    table.unlink()
    assert report["performances"] == 1


def test_quick_looks(monkeypatch, tmp_path, workdir, midi_folder):
    report = reported(
        monkeypatch,
        tmp_path,
        f"--workdir={workdir}",
        f"--data={midi_folder}",
        "--max_performances=2",
        "--max_events=100",
    )
    assert report["performances"] == 2
    assert report["whole"]["events"] == report["crops"]["events"] == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workdir={tmp}/nowhere"], "midijax.train"),
        (["--workdir={workdir}", "--data={tmp}/nowhere"], "nowhere"),
        (["--workdir={workdir}", "--data={tmp}"], "no .mid"),
        (["--workdir={workdir}", "--split=test"], "no test split"),
        (["--workdir={workdir}", "--split=tests"], "split"),
        (["--workdir={workdir}", "--batch_size=0"], "batch_size"),
        (["--workdir={workdir}", "--json={tmp}"], "folder"),
        (["--wrokdir={workdir}"], "wrokdir"),
    ],
)
def test_bad_input_ends_in_one_sentence(monkeypatch, tmp_path, workdir, capsys, arguments, words):
    arguments = [argument.format(tmp=tmp_path, workdir=workdir) for argument in arguments]
    assert run(monkeypatch, *arguments) == cli.BAD_INPUT
    printed = capsys.readouterr()
    assert words in printed.err
    assert len(printed.err.strip().splitlines()) == 1
    assert not printed.out


def test_files_without_any_note_are_nothing_to_evaluate(monkeypatch, tmp_path, workdir, capsys):
    (tmp_path / "text.mid").write_text("no music")
    assert run(monkeypatch, f"--workdir={workdir}", f"--data={tmp_path}") == cli.BAD_INPUT
    assert "nothing to evaluate" in capsys.readouterr().err


def test_a_run_on_other_data_wants_its_data_named(monkeypatch, tmp_path, workdir, capsys):
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    assert run(monkeypatch, f"--workdir={tmp_path}") == cli.BAD_INPUT
    assert "--data" in capsys.readouterr().err


def test_help(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    assert config.DEFAULT_WORKDIR in capsys.readouterr().out
