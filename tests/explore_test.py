import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from commands import forget_flags

from midijax import etudes, explore, midi, sources
from midijax.errors import UserError
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance
from midijax.survey import (
    LONGEST_MILLISECONDS,
    Catalogue,
    logarithmic_bins,
    measure,
    survey_file,
    survey_performance,
)
from midijax.survey_table import clock, pitch_name, table


@pytest.fixture
def run(capsys):
    """Runs the command with the given command line; returns what it prints."""

    def call(*command_line):
        try:
            explore.main(explore.FLAGS(["explore", *map(str, command_line)], known_only=True)[1:])
        finally:
            forget_flags(explore)
        return capsys.readouterr().out

    return call


@pytest.fixture
def folder(tmp_path):
    """Two études, a copy, a broken file, a hopeless one, and things that are no MIDI files."""
    folder = tmp_path / "music"
    (folder / "more").mkdir(parents=True)
    midi.write(etudes.compose(0), folder / "a.mid")
    midi.write(etudes.compose(1), folder / "more" / "B.MIDI")
    (folder / "copy.mid").write_bytes((folder / "a.mid").read_bytes())
    (folder / "more" / "cut.mid").write_bytes((folder / "a.mid").read_bytes()[:-500])
    (folder / "text.mid").write_text("no music at all")
    (folder / "notes.txt").write_text("not looked at")
    (folder / "._a.mid").write_text("not looked at")
    return folder


def source(path):
    """The file as the command finds it."""
    (found,) = sources.find(path, str(path))
    return found


def small_performance():
    """Three notes, the first two at once and held by the pedal into the third."""
    notes = [(0, 1, 60, 40), (0, 1, 64, 50), (2, 3.5, 67, 60)]
    return Performance(np.array(notes, NOTE_DTYPE), np.array([(0.5, 127), (3, 0)], PEDAL_DTYPE))


def test_measures_of_a_small_performance():
    summary = measure(small_performance()).summary()
    assert summary == {
        "seconds": 3.5,
        "notes": 3,
        "notes_per_second": 0.8571,
        "pedal_messages": 2,
        "pedal_down_share": 0.7143,
        "pitch": {"lowest": 60, "median": 64, "highest": 67},
        "velocity": {"lowest": 40, "median": 50, "highest": 60},
        "max_polyphony": 3,
        "mean_polyphony": round((3 + 3 + 1.5) / 3.5, 4),
        "inter_onset_seconds": {"p5": 0, "p25": 0, "median": 0, "p75": 2, "p95": 2},
        "note_duration_seconds": {"p5": 1, "p25": 1, "median": 1, "p75": 1.5, "p95": 1.5},
    }


def test_notes_that_meet_do_not_sound_at_once():
    notes = np.array([(0, 1, 60, 40), (1, 2, 60, 40), (2, 3, 61, 40)], NOTE_DTYPE)
    assert measure(Performance(notes)).max_polyphony == 1


def test_measures_of_one_note_of_none_and_of_endless_ones():
    one = measure(Performance(np.array([(0, 100, 60, 40)], NOTE_DTYPE))).summary()
    assert one["inter_onset_seconds"] == {}
    assert one["note_duration_seconds"]["median"] == LONGEST_MILLISECONDS / 1000
    none = measure(Performance(np.empty(0, NOTE_DTYPE))).summary()
    assert (none["notes"], none["pitch"], none["max_polyphony"]) == (0, {}, 0)


def test_measures_add_up():
    first, second = etudes.compose(0), etudes.compose(1)
    total = (measure(first) + measure(second)).summary()
    assert total["notes"] == len(first.notes) + len(second.notes)
    assert total["seconds"] == pytest.approx(first.duration + second.duration, abs=0.001)
    durations = np.concatenate(
        [each.notes["offset"] - each.notes["onset"] for each in (first, second)]
    )
    for share, name in ((0.05, "p5"), (0.5, "median"), (0.95, "p95")):
        exact = np.quantile(durations, share, method="inverted_cdf")
        assert total["note_duration_seconds"][name] == pytest.approx(exact, abs=0.001)


def test_polyphony_of_several_is_that_of_the_thickest():
    thin = measure(Performance(np.array([(0, 1, 60, 40)], NOTE_DTYPE)))
    thick = measure(small_performance())
    assert (thin + thick).max_polyphony == (thick + thin).max_polyphony == 3


def test_logarithmic_bins_lose_nothing_but_the_shortest():
    counts = np.arange(LONGEST_MILLISECONDS + 1)
    binned, edges = logarithmic_bins(counts)
    assert len(edges) == len(binned) + 1
    assert binned.sum() == counts[10:].sum()
    assert (np.diff(edges) > 0).all()


def test_survey_of_a_file_tells_its_make_up_and_its_music(tmp_path):
    performance = etudes.compose(3)
    midi.write(performance, tmp_path / "x.mid")
    survey = survey_file(source(tmp_path / "x.mid")).as_json()
    assert survey["file"] == str(tmp_path / "x.mid")
    assert survey["ticks_per_beat"] == midi.WRITTEN_TICKS_PER_BEAT
    assert survey["message_counts"]["control_change"] == len(performance.pedal)
    assert survey["notes"] == len(performance.notes)
    assert "skipped" not in survey


def test_survey_of_a_file_that_would_be_skipped_gives_the_reason_and_what_is_known(tmp_path):
    path = tmp_path / "silent.mid"
    midi.write(Performance(np.empty(0, NOTE_DTYPE)), path)
    silent = survey_file(source(path)).as_json()
    assert "no notes" in silent["skipped"]
    assert silent["format"] == 0
    assert str(path) not in silent["skipped"]
    path.write_bytes(b"")
    assert "empty" in survey_file(source(path)).as_json()["skipped"]


def test_folder_is_searched_added_up_and_what_would_be_skipped_is_named(run, folder, tmp_path):
    printed = run(folder, f"--json={tmp_path / 'out' / 'figures.json'}")
    figures = json.loads((tmp_path / "out" / "figures.json").read_text())
    names = [file["file"].removeprefix(f"{folder}/") for file in figures["files"]]
    assert names == ["a.mid", "copy.mid", "more/B.MIDI", "more/cut.mid", "text.mid"]
    skipped = [file for file in figures["files"] if "skipped" in file]
    assert [file["file"].removeprefix(f"{folder}/") for file in skipped] == ["copy.mid", "text.mid"]
    assert "a.mid" in skipped[0]["skipped"]
    assert all(file["skipped"] in " ".join(printed.split()) for file in skipped)
    total, files = figures["total"], figures["files"]
    assert (total["files"], total["skipped"]) == (5, 2)
    assert total["notes"] == sum(file["notes"] for file in files if "skipped" not in file)
    assert "truncated track" in total["repairs"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["figures.json"]


def test_file_named_twice_counts_once(run, folder):
    assert run(folder / "a.mid", folder / "a.mid") == run(folder / "a.mid").replace(
        str(folder / "a.mid"), f"{folder / 'a.mid'}, {folder / 'a.mid'}", 1
    )


def test_single_file_gets_its_piano_roll_and_a_folder_only_histograms(run, folder, tmp_path):
    histograms = {"pitch.png", "velocity.png", "inter_onset.png", "duration.png"}
    run(folder / "a.mid", f"--plots_dir={tmp_path / 'one'}")
    run(folder, f"--plots_dir={tmp_path / 'all'}")
    assert {path.name for path in (tmp_path / "one").iterdir()} == histograms | {"piano_roll.png"}
    assert {path.name for path in (tmp_path / "all").iterdir()} == histograms


def test_file_that_cannot_be_read_is_shown_with_its_reason(run, folder, tmp_path):
    printed = run(folder / "text.mid", f"--plots_dir={tmp_path / 'plots'}")
    assert "not a MIDI file" in printed
    assert not (tmp_path / "plots").exists()


def test_without_arguments_the_etudes_are_explored(run):
    printed = run()
    assert f"{etudes.NUM_ETUDES}, of which 0 skipped" in printed
    assert "étude" in printed


def test_many_files_are_surveyed_by_several_processes_in_order(folder):
    paths = [folder / "a.mid", folder / "text.mid", folder / "more" / "B.MIDI"]
    files = [source(path) for path in paths] * 4
    assert len(files) > explore.FEW_FILES
    surveys = [survey.as_json() for survey in explore._survey_files(files)]
    assert surveys == [survey_file(file).as_json() for file in files]


@pytest.mark.parametrize("copies", [1, explore.FEW_FILES])
def test_an_archive_is_explored_as_its_folder_is(run, folder, tmp_path, copies):
    with zipfile.ZipFile(tmp_path / "music.zip", "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            for copy in range(copies):
                archive.write(path, f"{copy}/{path.relative_to(folder)}")
    run(tmp_path / "music.zip", f"--json={tmp_path / 'zip.json'}")
    run(folder, f"--json={tmp_path / 'folder.json'}")
    zipped, plain = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("zip", "folder"))
    assert [file["file"].removeprefix(f"{tmp_path}/") for file in zipped["files"][:5]] == [
        f"music.zip/0/{name}"
        for name in ("a.mid", "copy.mid", "more/B.MIDI", "more/cut.mid", "text.mid")
    ]
    if copies == 1:
        assert zipped["total"] == plain["total"]
    else:
        assert zipped["total"]["files"] == copies * plain["total"]["files"]


def test_without_a_home_folder_nothing_is_said_of_it(folder, tmp_path):
    command = [sys.executable, "-m", "midijax.explore", folder / "a.mid"]
    environment = {name: value for name, value in os.environ.items() if name[:4] != "XDG_"}
    explored = subprocess.run(
        [*command, f"--plots_dir={tmp_path / 'plots'}"],
        env=environment | {"HOME": "/dev/null"},
        capture_output=True,
        text=True,
    )
    assert (explored.returncode, explored.stderr) == (0, "")


def test_wrong_arguments_are_the_users_error(run, folder, tmp_path):
    with pytest.raises(UserError, match=r"'nowhere\.mid' does not exist"):
        run("nowhere.mid")
    with pytest.raises(UserError, match="unknown argument '--colour'"):
        run("--colour", folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no"):
        run(tmp_path / "empty")
    with pytest.raises(UserError, match="cannot be written"):
        run(folder / "a.mid", f"--json={folder / 'a.mid' / 'x.json'}")


def test_command_line_tells_errors_in_one_sentence():
    command = [sys.executable, "-m", "midijax.explore"]
    wrong = subprocess.run([*command, "nowhere.mid"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.count("\n") == 1
    assert "nowhere.mid" in wrong.stderr


def test_table_of_a_long_list_shows_its_beginning():
    catalogue = Catalogue()
    for index in range(30):
        catalogue.add(survey_performance(f"copy-{index}", small_performance()))
    text = table("music", catalogue)
    assert "30, of which 29 skipped" in text
    assert "copy-1: the same notes and pedal as copy-0" in text
    assert "9 more" in text


def test_pitches_and_times_are_named_as_musicians_do():
    assert [pitch_name(pitch) for pitch in (0, 21, 60, 70, 127)] == ["C-1", "A0", "C4", "Bb4", "G9"]
    assert [clock(seconds) for seconds in (0, 59.6, 3600, 640_000)] == [
        "0:00",
        "1:00",
        "1:00:00",
        "177:46:40",
    ]


def test_a_tilde_is_the_home_folder(run, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    run("~/music/a.mid", "--json=~/figures.json", "--plots_dir=~/plots")
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["files"][0]["file"] == str(folder / "a.mid")
    assert (tmp_path / "plots" / "piano_roll.png").exists()
