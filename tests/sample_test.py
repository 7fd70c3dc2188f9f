"""The command, end to end, on a small untrained model; its files read back by other software."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from midijax import cli, config, etudes, generate, midi, sample
from midijax.config import Config, ModelConfig
from midijax.controls import Controls
from midijax.events import OORE_2018

CONFIG = Config(vocabulary=OORE_2018, model=ModelConfig(num_layers=1, hidden_size=16))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_run):
    return save_run(tmp_path_factory.mktemp("trained"), CONFIG)


@pytest.fixture
def run(run_command):
    """Runs the command; returns its exit code and what it printed."""

    def run(*arguments):
        code, out, err = run_command(sample, *arguments)
        return code, out + err

    return run


@pytest.fixture
def assert_playable(verify_generated):
    def check(path, max_note_seconds):
        assert not any(verify_generated.check(path, max_note_seconds).values())

    return check


def test_writes_playable_music_with_its_picture_and_its_origin(
    workdir, tmp_path, run, assert_playable
):
    flags = ("--num_performances=4", "--seconds=12", "--seed=3", "--max_note_seconds=2.5")
    code, printed = run(f"--workdir={workdir}", f"--output_dir={tmp_path}", "--top_p=0.98", *flags)
    assert code == 0
    stems = [f"seed3-00{index}" for index in range(4)]
    names = sorted(stem + suffix for stem in stems for suffix in (".json", ".mid", ".png"))
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for index, stem in enumerate(stems):
        assert str(tmp_path / stem) in printed
        assert_playable(tmp_path / f"{stem}.mid", 2.5)
        performance = midi.read(tmp_path / f"{stem}.mid")
        assert performance.duration <= 12
        facts = json.loads((tmp_path / f"{stem}.json").read_text())
        assert facts["notes"] == len(performance.notes) > 10
        assert facts["seconds"] == 12 and facts["events"] > facts["notes"]
        assert (facts["seed"], facts["index"], facts["step"]) == (3, index, 7)
        assert facts["settings"]["top_p"] == 0.98
        assert facts["length"] == {"seconds": 12, "num_events": None} and facts["complete"]
        assert facts["checkpoint"] == str(workdir / "checkpoints" / "7")
        assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")


def test_a_seed_gives_the_same_bytes_in_a_new_process(workdir, tmp_path, run):
    arguments = [f"--workdir={workdir}", "--seconds=4", "--seed=4294967295"]
    assert run(*arguments, f"--output_dir={tmp_path / 'a'}")[0] == 0
    command = [sys.executable, "-m", "midijax.sample", *arguments]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([*command, f"--output_dir={tmp_path / 'b'}"], env=environment, check=True)
    ours, theirs = (sorted((tmp_path / folder).iterdir()) for folder in "ab")
    assert [path.name for path in ours] == [path.name for path in theirs]
    assert [path.read_bytes() for path in ours] == [path.read_bytes() for path in theirs]
    assert any((tmp_path / "cache" / "midijax" / "jax").iterdir())


def test_without_a_seed_one_is_drawn_and_told(workdir, tmp_path, run):
    for _ in range(2):
        run(f"--workdir={workdir}", f"--output_dir={tmp_path}", "--num_events=20")
    seeds = [json.loads(path.read_text())["seed"] for path in tmp_path.glob("*.json")]
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    ("flags", "length", "complete"),
    [
        (["--seconds=9"], {"seconds": 9, "num_events": None}, False),
        (["--seconds=9", "--num_events=90"], {"seconds": 9, "num_events": 90}, False),
        (["--seconds=9", "--num_events=20"], {"seconds": 9, "num_events": 20}, True),
        (["--num_events=20"], {"seconds": None, "num_events": 20}, True),
        ([], {"seconds": 60, "num_events": None}, False),
    ],
)
def test_a_performance_that_runs_out_of_events_says_so(
    flags, length, complete, workdir, tmp_path, run, monkeypatch
):
    monkeypatch.setattr(generate, "MAX_EVENTS_PER_SECOND", 3)
    code, printed = run(f"--workdir={workdir}", f"--output_dir={tmp_path}", "--seed=0", *flags)
    facts = json.loads((tmp_path / "seed0-000.json").read_text())
    assert (code, facts["length"], facts["complete"]) == (0, length, complete)
    assert ("ends early" in printed) == (not complete)


def test_a_tilde_is_the_home_folder(workdir, tmp_path, run, monkeypatch):
    midi.write(etudes.compose(0), tmp_path / "etude.mid")
    (tmp_path / "run").symlink_to(workdir)
    monkeypatch.setenv("HOME", str(tmp_path))
    flags = ["--workdir=~/run", "--primer=~/etude.mid", "--output_dir=~/out", "--num_events=20"]
    assert run(*flags)[0] == 0
    assert len(list((tmp_path / "out").glob("*.mid"))) == 3


def test_a_primer_is_played_or_left_out_and_not_counted(workdir, tmp_path, run, assert_playable):
    midi.write(etudes.compose(0), tmp_path / "etude.mid")
    primed = {}
    for included in ("include", "noinclude"):
        folder = tmp_path / included
        flags = ("--primer_seconds=4", f"--{included}_primer", "--seconds=5", "--seed=1")
        primer = f"--primer={tmp_path / 'etude.mid'}"
        assert run(f"--workdir={workdir}", f"--output_dir={folder}", primer, *flags)[0] == 0
        assert_playable(folder / "seed1-000.mid", 14)
        primed[included] = midi.read(folder / "seed1-000.mid")
        facts = json.loads((folder / "seed1-000.json").read_text())
        assert facts["seconds"] == 5 and facts["primer"]["seconds"] == 4
        assert facts["primer"]["primer_seconds"] == 4
    whole, new = primed["include"].notes, primed["noinclude"].notes
    assert primed["include"].duration == pytest.approx(9, abs=0.01)
    later = whole[whole["onset"] >= 4 - 1e-6]
    assert 0 < len(new) == len(later) < len(whole)
    np.testing.assert_allclose(new["onset"] + 4, later["onset"], atol=0.002)
    assert new["velocity"].tolist() == later["velocity"].tolist()


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--temperature=-1", "temperature"),
        ("--temperature=nan", "temperature"),
        ("--top_k=-1", "top_k"),
        ("--top_p=0", "top_p"),
        ("--min_p=1", "min_p"),
        ("--max_note_seconds=0", "max_note_seconds"),
        ("--seconds=0", "seconds"),
        ("--seconds=inf", "seconds"),
        ("--num_events=0", "num_events"),
        ("--num_performances=0", "num_performances"),
        ("--seed=-1", "seed"),
        ("--seed=4294967296", "seed"),
        ("--primer=nowhere.mid", "nowhere.mid"),
        ("--workdir=nowhere", "'nowhere' does not exist; name the folder of a trained model"),
        ("--workdir=/", "'/' holds no checkpoint"),
        ("--output_dir=/dev/null/here", "output_dir"),
        ("--tempo=3", "tempo"),
        ("extra", "extra"),
    ],
)
def test_a_bad_flag_is_one_sentence_and_exit_code_2(flag, said, workdir, tmp_path, run):
    code, printed = run(f"--workdir={workdir}", f"--output_dir={tmp_path / 'out'}", flag)
    assert code == cli.BAD_INPUT
    assert said in printed.splitlines()[-1]
    assert not (tmp_path / "out").exists()


def test_bad_primers_are_refused(workdir, tmp_path, run):
    midi.write(etudes.compose(0), tmp_path / "etude.mid")
    arguments = (f"--workdir={workdir}", f"--output_dir={tmp_path}")
    code, printed = run(*arguments, f"--primer={tmp_path / 'etude.mid'}", "--primer_seconds=0")
    assert code == cli.BAD_INPUT and "primer_seconds" in printed


def test_without_flags_it_plays_three_minutes_with_the_model_that_midijax_brings(
    workdir, tmp_path, run, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "SHIPPED_WORKDIR", workdir)
    assert run()[0] == 0
    played = [json.loads(path.read_text()) for path in (tmp_path / "generated").glob("*.json")]
    assert [facts["seconds"] for facts in played] == [60, 60, 60]
    assert {facts["checkpoint"] for facts in played} == {str(workdir / "checkpoints" / "7")}


def test_what_is_asked_of_the_music_is_kept_with_it(tmp_path, save_run, run):
    told = dataclasses.replace(CONFIG, controls=Controls(enabled=True, composers=("Bach", "Cage")))
    workdir = save_run(tmp_path / "told", told)
    flags = ("--notes_per_second=2,8", "--loudness=50", "--composer=Cage; Bach", "--guidance=1.5")
    classes = "--pitch_classes=1,0,1,0,1,1,0,1,0,1,0,1;0,0,0,0,0,0,0,0,0,0,0,1"
    code, printed = run(
        f"--workdir={workdir}", f"--output_dir={tmp_path / 'out'}", "--seconds=3", *flags, classes
    )
    assert code == 0, printed
    path, *_ = sorted((tmp_path / "out").glob("*.json"))
    wishes = json.loads(path.read_text())["wishes"]
    assert wishes["notes_per_second"] == [2, 8] and wishes["loudness"] == [50]
    assert wishes["composer"] == ["Cage", "Bach"] and wishes["guidance"] == 1.5
    assert [sum(weights) for weights in wishes["pitch_classes"]] == [7, 1]


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--notes_per_second=fast", "--notes_per_second=fast: give numbers"),
        ("--pitch_classes=1,2,3", "pitch_classes=1,2,3 must be 12 weights"),
        ("--loudness=200", "loudness=200.0 must be a MIDI velocity"),
        ("--guidance=2", "--guidance is of what is asked"),
        ("--loudness=60", "trained without controls"),
        ("--loudness=40,90 --num_events=50", "changes on the way: give --seconds"),
    ],
)
def test_what_cannot_be_asked_is_refused(workdir, tmp_path, run, flags, message):
    places = f"--workdir={workdir}", f"--output_dir={tmp_path / 'out'}"
    code, printed = run(*places, *flags.split())
    assert code == 2 and message in printed and "Playing" not in printed
    assert not (tmp_path / "out").exists()
