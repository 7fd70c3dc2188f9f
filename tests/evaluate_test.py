import json
import math

import pytest

from midijax import cli, config, corpus, etudes, evaluate, midi
from midijax.config import Config, ModelConfig
from midijax.events import PERFORMANCE_RNN

CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=4))
NUM_ETUDES = 3


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_run):
    """A model that finds every event equally likely, and the études it was trained on."""
    folder = tmp_path_factory.mktemp("evaluate") / "run"
    save_run(folder, CONFIG, scale=0.0, metrics={"nats_per_event": 5.0})
    recordings = [corpus.Recording.of(f"{i}", etudes.compose(i)) for i in range(NUM_ETUDES)]
    corpus.write(folder / "etudes", {"train": recordings[:1], "validation": recordings[1:]})
    return folder


@pytest.fixture(scope="module")
def midi_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("midi")
    for i in range(NUM_ETUDES):
        midi.write(etudes.compose(i), folder / f"{i}.mid")
    return folder


@pytest.fixture
def report(run_command, tmp_path, workdir):
    """Measures the workdir's model; returns what the command reports, and what it prints."""

    def report(*arguments):
        path = tmp_path / "deep" / "scores.json"
        arguments = f"--json={path}", f"--workdir={workdir}", *arguments
        code, out, err = run_command(evaluate, *arguments)
        assert code == 0, err
        assert [entry.name for entry in path.parent.iterdir()] == ["scores.json"]
        return json.loads(path.read_text()), out, err

    return report


def num_events(*seeds):
    return sum(len(PERFORMANCE_RNN.encode(etudes.compose(seed))) for seed in seeds)


def test_measures_the_etudes_of_the_run(report, workdir):
    figures, printed, _ = report()
    assert figures["step"] == 7
    assert figures["checkpoint"].startswith(str(workdir))
    assert figures["split"] == "validation"
    assert figures["performances"] == 2
    assert figures["vocabulary"]["steps_per_second"] == 100
    for protocol in ("whole", "crops"):
        scores = figures[protocol]
        assert scores["events"] == num_events(1, 2)
        assert scores["nats_per_event"] == pytest.approx(math.log(388), rel=1e-6)
        assert scores["by_kind"]["note_on"]["count"] == sum(
            len(etudes.compose(seed).apply_sustain().notes) for seed in (1, 2)
        )
    assert f"{math.log(388):.4f}" in printed
    assert "2 performances" in printed


def test_a_folder_of_midi_files_skips_what_it_cannot_read(report, midi_folder):
    broken = midi_folder / "broken.mid"
    broken.write_bytes(b"no music")
    figures, _, errors = report(f"--data={midi_folder}")
    broken.unlink()
    assert figures["performances"] == NUM_ETUDES
    assert figures["whole"]["seconds"] == pytest.approx(
        sum(etudes.compose(seed).apply_sustain().duration for seed in range(3)), abs=0.1
    )
    assert [skip["name"].endswith("broken.mid") for skip in figures["skipped"]] == [True]
    assert "broken.mid" in errors


def test_a_single_midi_file_is_measured(report, midi_folder):
    figures, _, _ = report(f"--data={midi_folder / '1.mid'}")
    assert figures["whole"]["events"] == num_events(1)


def test_a_table_beside_midi_files_says_which_belong_to_the_split(report, midi_folder):
    table = midi_folder / "table.csv"
    table.write_text("split,midi_filename\ntrain,0.mid\nvalidation,1.mid\ntest,2.mid\n")
    figures, _, _ = report(f"--data={midi_folder}", "--split=test")
    table.unlink()
    assert figures["performances"] == 1


def test_quick_looks(report, midi_folder):
    figures, _, _ = report(f"--data={midi_folder}", "--max_performances=2", "--max_events=100")
    assert figures["performances"] == 2
    assert figures["whole"]["events"] == figures["crops"]["events"] == 200


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
def test_bad_input_ends_in_one_sentence(run_command, tmp_path, workdir, arguments, words):
    arguments = [argument.format(tmp=tmp_path, workdir=workdir) for argument in arguments]
    code, out, err = run_command(evaluate, *arguments)
    assert (code, out) == (cli.BAD_INPUT, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


def test_files_without_any_note_are_nothing_to_evaluate(run_command, tmp_path, workdir):
    (tmp_path / "text.mid").write_text("no music")
    code, _, err = run_command(evaluate, f"--workdir={workdir}", f"--data={tmp_path}")
    assert code == cli.BAD_INPUT and "nothing to evaluate" in err


def test_a_run_on_other_data_wants_its_data_named(run_command, tmp_path, workdir):
    (tmp_path / "checkpoints").symlink_to(workdir / "checkpoints")
    code, _, err = run_command(evaluate, f"--workdir={tmp_path}")
    assert code == cli.BAD_INPUT and "--data" in err


def test_help(run_command):
    code, out, _ = run_command(evaluate, "--help")
    assert code == 0 and config.DEFAULT_WORKDIR in out


def test_a_tilde_is_the_home_folder(run_command, workdir, midi_folder, tmp_path, monkeypatch):
    (tmp_path / "run").symlink_to(workdir)
    (tmp_path / "midi").symlink_to(midi_folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    arguments = ["--workdir=~/run", "--data=~/midi", "--max_events=9", "--json=~/scores.json"]
    code, _, err = run_command(evaluate, *arguments)
    assert code == 0, err
    assert json.loads((tmp_path / "scores.json").read_text())["performances"] == NUM_ETUDES


def test_the_table_tells_every_ratio_of_every_kind(report):
    figures, printed, _ = report()
    for kind in figures["whole"]["by_kind"].values():
        for ratio in ("nats_per_event", "nats_per_note", "nats_per_second", "accuracy"):
            assert f"{kind[ratio]:.4f}" in printed
    assert printed.count("nats per note") == printed.count("nats per second") == 1 + 4
