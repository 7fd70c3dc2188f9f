"""What `evaluate` says of generated music, on études and untrained models."""

import json
import re
import shlex

import jax
import numpy as np
import pytest
from absl import flags
from matplotlib.image import imread

from midijax import (
    checkpoint,
    cli,
    corpus,
    etudes,
    evaluate,
    judging,
    midi,
    sampling_flags,
    similarity,
)
from midijax.config import Config, ModelConfig
from midijax.events import PERFORMANCE_RNN
from midijax.generate import Length, generate
from midijax.performance import NOTE_DTYPE, Performance
from midijax.sampling import SamplingSettings
from midijax.statistics import STATISTICS

CONFIG = Config(vocabulary=PERFORMANCE_RNN, model=ModelConfig(num_layers=1, hidden_size=4))
PLAN = judging.Plan(3, 4.0, 10.0, seed=5, settings=SamplingSettings())
FLAGS = ("--num_generated=3", "--generated_seconds=4", "--drift_seconds=10", "--seed=5")
LOSSES = (
    '{"step": 1, "loss": 6.0}\n{"step": 2, "loss": null}\n{"step": 3, "loss": 4.0}\n'
    '{"step": 3, "validation_nats_per_event": 4.5}\n{"step": 4, "lo'
)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, save_run):
    """A model that finds every event equally likely, and études to compare with."""
    folder = save_run(tmp_path_factory.mktemp("judging") / "run", CONFIG, scale=0.0)
    recordings = [corpus.Recording.of(f"étude {i}", etudes.compose(i)) for i in range(14)]
    corpus.write(folder / "etudes", {"train": recordings[:8], "validation": recordings[8:]})
    (folder / "metrics.jsonl").write_text(LOSSES)
    return folder


@pytest.fixture(scope="module")
def opinionated(tmp_path_factory, save_run):
    """A model that finds some events likelier than others, so that settings have an effect."""
    return save_run(tmp_path_factory.mktemp("judging") / "opinionated", CONFIG, scale=9.0)


@pytest.fixture
def evaluated(run_command, workdir, tmp_path):
    """Evaluates with a report; returns the figures, the report's folder and what was printed."""

    def evaluated(*arguments):
        folder = tmp_path / "report"
        paths = f"--workdir={workdir}", f"--json={tmp_path / 'x.json'}", f"--report_dir={folder}"
        code, out, err = run_command(evaluate, *paths, "--max_events=50", *FLAGS, *arguments)
        assert code == 0, err
        return json.loads((tmp_path / "x.json").read_text()), folder, out

    return evaluated


def test_one_command_gives_figures_and_a_report_of_them(evaluated, workdir):
    figures, folder, printed = evaluated("--temperature=0.9")
    music = figures["music"]
    assert music["plan"]["settings"]["temperature"] == 0.9
    assert set(music["statistics"]) == set(STATISTICS)
    assert music["real"] == {
        "performances": 6,
        "long_performances": 6,
        "from_beginning": False,
    }
    page = (folder / "report.md").read_text()
    for of in music["statistics"].values():
        area = of["values"]["overlapping_area"]
        assert f"| {of['title']} | **{area:.2f}** (" in page
        assert of["title"] in printed
    for scores in (figures["whole"], figures["crops"]):
        assert f"{scores['nats_per_event']:.4f}" in page
    assert f"{music['memorization']['longest']['notes']} notes, at" in page
    assert "## Drift" in page
    named = set(re.findall(r"\]\(([^)]+)\)", page))
    assert named == {path.name for path in folder.iterdir()} - {"report.md"}
    assert all(imread(folder / name).ndim == 3 for name in named if name.endswith(".png"))
    (command,) = re.findall(r"```sh\n(.+)\n```", page)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "midijax.evaluate"]
    assert {"--temperature=0.9", "--num_generated=3", f"--workdir={workdir}"} <= set(words)


def test_the_same_seed_gives_the_same_report(evaluated):
    first, folder, _ = evaluated()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    again, _, _ = evaluated()
    assert again["music"] == first["music"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == files
    other, _, _ = evaluated("--seed=6")
    assert other["music"]["statistics"] != first["music"]["statistics"]


def test_what_is_judged_is_what_sample_would_play(evaluated, workdir):
    _, folder, _ = evaluated("--drift_seconds=0")
    loaded = checkpoint.load(workdir)
    tokens = generate(
        loaded.params, jax.random.key(5), loaded.config, Length(4.0), num_performances=3
    )
    for number in range(3):
        midi.write(CONFIG.vocabulary.decode(tokens[number]), folder / "x.mid")
        written = folder / f"generated-{number}.mid"
        assert written.read_bytes() == (folder / "x.mid").read_bytes()


def test_more_than_a_batch_goes_on_with_the_next_seed(workdir, monkeypatch):
    monkeypatch.setattr(judging, "BATCH_SIZE", 2)
    loaded = checkpoint.load(workdir)
    played = judging.play(loaded, judging.Plan(4, 2.0, 0, 5, SamplingSettings()), 2.0)
    next_seed = judging.play(loaded, judging.Plan(2, 2.0, 0, 6, SamplingSettings()), 2.0)
    assert len(played) == 4
    for ours, theirs in zip(played[2:], next_seed, strict=True):
        np.testing.assert_array_equal(ours.notes, theirs.notes)
    assert len({len(performance.notes) for performance in played}) > 1


def test_drift_is_held_against_several_parts_of_each_performance(workdir):
    reference = judging.read(workdir / "etudes", "validation", CONFIG, PLAN).drift
    for group, count in ((reference.real, 6), (reference.others, 8)):
        assert len(group.ends) == count
        assert len(group.parts) == count * judging.PARTS
        assert len({part.features["pitch"][0] for part in group.parts}) > count


def test_the_report_has_a_row_of_each_ending(evaluated):
    figures, folder, printed = evaluated()
    page = (folder / "report.md").read_text()
    drift = figures["music"]["drift"]
    density, classes = (drift["statistics"][name] for name in ("note_density", "pitch_class"))
    (row,) = re.findall(r"^\| notes per second, over 3 s \|.*→.*$", page, re.MULTILINE)
    assert f"**{density['last_area']:.2f}** ({density['last_area_ceiling']:.2f})" in row
    assert f"{density['last_within']:.0%} ({density['last_within_ceiling']:.0%})" in row
    assert f"{density['real_first']:.3g} → {density['real_last']:.3g}" in row
    area = f"**{classes['last_area']:.2f}** ({classes['last_area_ceiling']:.2f})"
    assert f"| pitch class |  |  | {area} |  |  |  |" in page
    mean = drift["mean_overlapping_area"]
    assert f"at the end of 10 s: {mean['generated']:.2f} (real: {mean['ceiling']:.2f})" in printed


def test_without_long_performances_there_is_no_drift(evaluated):
    figures, folder, _ = evaluated("--drift_seconds=300")
    assert figures["music"]["drift"] is None
    assert "Drift" not in (folder / "report.md").read_text()


def test_silence_is_judged_too(evaluated, monkeypatch):
    silence = Performance(np.empty(0, NOTE_DTYPE))
    monkeypatch.setattr(judging, "play", lambda *_: [silence] * 3)
    figures, folder, _ = evaluated()
    measured = {
        name
        for name, of in figures["music"]["statistics"].items()
        if of["values"]["kl_divergence"] < similarity.UNLIKE.kl_divergence
    }
    assert measured == {"note_density", "polyphony"}
    assert figures["music"]["drift"]["statistics"]["pitch"]["last_within"] == 0
    assert "longest of all generated: none" in (folder / "report.md").read_text()


def test_the_learning_curve_is_of_the_losses_there_are(evaluated, workdir):
    _, folder, _ = evaluated()
    assert "(training.png)" in (folder / "report.md").read_text()
    (workdir / "metrics.jsonl").rename(workdir / "elsewhere")
    _, folder, _ = evaluated()
    (workdir / "elsewhere").rename(workdir / "metrics.jsonl")
    assert "training.png" not in (folder / "report.md").read_text()


def test_a_damaged_line_of_the_losses_is_told(run_command, workdir, tmp_path):
    (workdir / "metrics.jsonl").write_text('{"step": 1}\nwhat?\n')
    arguments = [f"--workdir={workdir}", f"--report_dir={tmp_path}", "--max_events=50", *FLAGS]
    code, _, err = run_command(evaluate, *arguments)
    (workdir / "metrics.jsonl").write_text(LOSSES)
    assert code == cli.BAD_INPUT and "metrics.jsonl, line 2 is damaged" in err


def test_figures_against_real_ones():
    figures = judging.against([1, 5, 30, 40], list(range(21)))
    assert figures["generated"] == pytest.approx(
        {"p5": 1.6, "median": 17.5, "p95": 38.5, "highest": 40}
    )
    assert (figures["below_median"], figures["above_p95"]) == (0.5, 0.5)
    of_real = judging.against(list(range(21)), list(range(21)))
    assert (of_real["below_median"], of_real["above_p95"]) == pytest.approx((10 / 21, 1 / 21))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data={data}", "--split=train", *FLAGS], "no --split=train"),
        (["--data={data}", "--split=test", *FLAGS], "no test split"),
        (["--data={midi}", *FLAGS], "as midijax.prepare made it"),
        (["--data={untrained}", *FLAGS], "no train split"),
        (["--data={data}", "--num_generated=3"], "give a shorter --generated_seconds"),
        (["--data={data}", *FLAGS, "--drift_seconds=7"], "drift_seconds=7.0 must be 0 or at least"),
        (["--data={data}", *FLAGS, "--top_p=0"], "top_p"),
        (["--report_dir={midi}/report"], "--num_generated"),
        (["--seed=1"], "--seed is of generated music"),
    ],
)
def test_what_cannot_be_judged_is_told(run_command, workdir, tmp_path, arguments, words):
    (tmp_path / "midi").mkdir()
    midi.write(etudes.compose(0), tmp_path / "midi" / "x.mid")
    etude = corpus.Recording.of("x", etudes.compose(0))
    corpus.write(tmp_path / "untrained", {"validation": [etude]})
    places = {"data": workdir / "etudes", "midi": tmp_path / "midi"}
    arguments = [text.format(**places, untrained=tmp_path / "untrained") for text in arguments]
    code, out, err = run_command(evaluate, f"--workdir={workdir}", *arguments)
    assert (code, out) == (cli.BAD_INPUT, "")
    assert words in err
    assert not (tmp_path / "midi" / "report").exists()


def test_the_grid_prints_a_row_for_each_combination(check, run_command, workdir, opinionated):
    grid = check("sampling_grid")
    flags = ("--temperatures=0.5,1", "--top_ps=0.9", "--min_ps=0,0.1", "--num_generated=2")
    places = f"--workdir={opinionated}", f"--data={workdir / 'etudes'}", "--generated_seconds=4"
    code, out, err = run_command(grid, *places, *flags, "--drift_seconds=8")
    assert code == 0, err
    rows = [line for line in out.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 4 + 1
    cells = [row.replace("*", "").split("|")[1:] for row in rows[2:]]
    likeness, mean, lowest, mean_end, lowest_end = (
        np.array([float(row[column]) for row in cells]) for column in range(3, 8)
    )
    (chosen,) = (index for index, row in enumerate(rows[2:6]) if "**" in row)
    assert likeness[chosen] == likeness[:4].max() > likeness[:4].min()
    np.testing.assert_allclose(likeness, (mean + mean_end) / 2, atol=0.001)  # rounded
    assert (lowest <= mean).all() and (lowest_end <= mean_end).all()
    assert re.search(r"deviates by 0\.\d{3}\.$", out.strip())


def test_ends_count_as_much_as_beginnings_where_they_are_looked_at(check):
    grid = check("sampling_grid")
    beginnings, ends = (
        {"generated": area, "ceiling_deviation": deviation}
        for area, deviation in ((0.9, 0.03), (0.5, 0.04))
    )
    figures = {"mean_overlapping_area": beginnings, "drift": None}
    assert (grid.likeness(figures, "generated"), grid.deviation(figures)) == (0.9, 0.03)
    figures["drift"] = {"mean_overlapping_area": ends}
    assert grid.likeness(figures, "generated") == pytest.approx(0.7)
    assert grid.deviation(figures) == pytest.approx(0.025)  # of the mean of two draws


def test_a_grid_without_long_performances_has_no_ends(check, run_command, workdir, opinionated):
    places = f"--workdir={opinionated}", f"--data={workdir / 'etudes'}", "--generated_seconds=4"
    flags = ("--temperatures=1", "--top_ps=1", "--num_generated=2")
    code, out, err = run_command(check("sampling_grid"), *places, *flags)
    assert code == 0, err
    row, real = (line.split("|") for line in out.splitlines()[2:4])
    assert row[4].strip(" *") == row[5].strip(" *") and row[7:9] == real[7:9] == ["  ", "  "]
    code, _, err = run_command(check("sampling_grid"), *places, *flags, "--drift_seconds=300")
    assert code == cli.BAD_INPUT and "last --drift_seconds=300; give fewer, or 0" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data is needed"),
        (["--temperatures=1,warm"], "'warm' is no number"),
        (["--top_ps=0"], "top_p=0.0 must be"),
        (["--min_ps="], "each want a value"),
    ],
)
def test_what_is_no_grid_is_told(check, run_command, arguments, words):
    places = ["--workdir=x", "--data=y"] if arguments else []
    code, _, err = run_command(check("sampling_grid"), *places, *arguments)
    assert code == cli.BAD_INPUT and words in err


def test_flags_not_given_are_the_settings_defaults():
    values = flags.FlagValues()
    sampling_flags.define_flags(values)
    values(["command"])
    assert sampling_flags.settings(values) == SamplingSettings()
