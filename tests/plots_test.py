import time

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from midijax import etudes, plots
from midijax.errors import UserError
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

WIDTH, HEIGHT = (round(inches * plots.DOTS_PER_INCH) for inches in plots.ROLL_INCHES)
HISTOGRAM_HEIGHT = round(plots.HISTOGRAM_INCHES[1] * plots.DOTS_PER_INCH)
PEDAL_COLOUR, HISTOGRAM_COLOUR = to_rgb(plots.PEDAL_COLOUR), to_rgb(plots.BAR_COLOUR)


def performance_of(*notes, pedal=()):
    return Performance(np.array(list(notes), NOTE_DTYPE), np.array(list(pedal), PEDAL_DTYPE))


def count_pixels(path, colour):
    """How many pixels are of a colour, nearly."""
    difference = np.abs(imread(path)[..., :3] - np.array(colour)[:3])
    return int((difference.max(axis=2) < 0.04).sum())


def velocity_colour(velocity):
    return plots.VELOCITY_COLOURS((velocity - 1) / 126)


def test_piano_roll_gives_the_same_bytes_and_leaves_nothing_else(tmp_path):
    performance = etudes.compose(0)
    first, second = tmp_path / "new" / "first.png", tmp_path / "new" / "second.png"
    plots.piano_roll(performance, first, "an étude")
    plots.piano_roll(performance, second, "an étude")
    assert first.read_bytes() == second.read_bytes()
    assert imread(first).shape[:2] == (HEIGHT, WIDTH)
    assert sorted(file.name for file in first.parent.iterdir()) == ["first.png", "second.png"]
    assert b"Software" not in first.read_bytes()


def test_piano_roll_draws_notes_by_length_height_and_velocity(tmp_path):
    path = tmp_path / "roll.png"
    plots.piano_roll(performance_of((0, 2, 60, 10), (2, 3, 72, 120), (9, 10, 50, 64)), path)
    image = imread(path)[..., :3]
    soft, loud = (
        np.argwhere(np.abs(image[:, : WIDTH - 120] - velocity_colour(v)[:3]).max(axis=2) < 0.02)
        for v in (10, 120)
    )
    assert len(soft) == pytest.approx(2 * len(loud), rel=0.1)
    assert soft[:, 0].min() > loud[:, 0].max()  # lower on the page
    assert soft[:, 1].max() <= loud[:, 1].min()  # and earlier


def test_piano_roll_shows_the_pedal(tmp_path):
    path = tmp_path / "roll.png"
    note = (0, 10, 60, 64)
    plots.piano_roll(performance_of(note, pedal=[(0, 127), (5, 0)]), path)
    half = count_pixels(path, PEDAL_COLOUR)
    plots.piano_roll(performance_of(note, pedal=[(0, 127), (10, 0)]), path)
    whole = count_pixels(path, PEDAL_COLOUR)
    assert half > 1000
    assert whole == pytest.approx(2 * half, rel=0.1)


def test_no_note_is_too_short_or_extreme_to_be_seen(tmp_path):
    path = tmp_path / "roll.png"
    plots.piano_roll(performance_of((0, 0, 0, 127), (3599, 3599, 127, 127)), path)
    scale_only = tmp_path / "empty.png"
    plots.piano_roll(performance_of((0, 3600, 64, 1)), scale_only)
    dark = velocity_colour(127)
    assert count_pixels(path, dark) >= count_pixels(scale_only, dark) + 2


@pytest.mark.parametrize("title", ["", "価 \udcff $x$ \n tab\t", "x" * 1000, "%s {0} $\\frac$"])
def test_piano_roll_of_nothing_takes_any_title(tmp_path, title):
    path = tmp_path / "empty.png"
    plots.piano_roll(performance_of(), path, title)
    assert imread(path).shape[:2] == (HEIGHT, WIDTH)


def test_piano_roll_of_an_hour_is_fast(tmp_path):
    rng = np.random.default_rng(0)
    notes = np.empty(30_000, NOTE_DTYPE)
    notes["onset"] = rng.uniform(0, 3600, len(notes))
    notes["offset"] = notes["onset"] + rng.exponential(0.3, len(notes))
    notes["pitch"] = rng.integers(21, 109, len(notes))
    notes["velocity"] = rng.integers(1, 128, len(notes))
    start = time.process_time()
    plots.piano_roll(Performance(notes), tmp_path / "hour.png")
    assert time.process_time() - start < 3


def test_piano_roll_that_cannot_be_written_is_the_users_error(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(UserError, match="cannot be written"):
        plots.piano_roll(performance_of(), file / "roll.png")
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        plots.piano_roll(performance_of(), folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_histograms_show_shares(tmp_path):
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    edges = np.arange(129) - 0.5
    counts = np.zeros(128, int)
    counts[[60, 61, 62]] = 1, 2, 1
    plots.histogram(counts, edges, one, label="pitch", pitches=True)
    plots.histogram(1000 * counts, edges, other, label="pitch", pitches=True)
    assert one.read_bytes() == other.read_bytes()
    assert count_pixels(one, HISTOGRAM_COLOUR) > 10_000
    plots.histogram(0 * counts, edges, one, label="pitch")
    assert count_pixels(one, HISTOGRAM_COLOUR) == 0


def test_growing_bins_get_a_logarithmic_axis(tmp_path):
    path = tmp_path / "log.png"
    counts = np.array([1, 0, 1])
    plots.histogram(counts, np.geomspace(0.01, 10, 4), path, label="seconds")
    middle_row = imread(path)[HISTOGRAM_HEIGHT // 2, :, :3]
    filled = (np.abs(middle_row - HISTOGRAM_COLOUR).max(axis=1) < 0.04).mean()
    assert 0.5 < filled < 0.67  # two bars of three; on a linear axis the last would fill it


def test_distributions_are_drawn_over_real_ones(tmp_path):
    path, same = tmp_path / "panels.png", tmp_path / "same.png"
    edges, half = np.arange(5.0), np.array([0.5, 0.5, 0, 0])
    panel = plots.Panel("pitch", edges, half[::-1], half, names=("C", "D", "E", "F"))
    growing = plots.Panel("seconds", np.geomspace(0.01, 10, 5), half, half)
    plots.comparison([panel] * 3 + [growing], path)
    plots.comparison([panel] * 3 + [growing], same)
    assert path.read_bytes() == same.read_bytes()
    rows = round(plots.COMPARISON_ROW_INCHES * plots.DOTS_PER_INCH)
    assert imread(path).shape[:2] == (2 * rows, WIDTH)
    second = imread(path)[: rows // 2, WIDTH // 3 : 2 * WIDTH // 3, :3]  # without the legend
    real, generated = (
        np.flatnonzero((np.abs(second - colour).max(axis=2) < 0.04).any(axis=0))
        for colour in (to_rgb(plots.REAL_COLOUR), HISTOGRAM_COLOUR)
    )
    assert real.max() < np.median(generated)  # the lower pitches, and the higher ones


def test_curves_are_drawn_by_name(tmp_path):
    path = tmp_path / "curves.png"
    steps = np.array([0, 500, 1000])
    lines = {"training": (steps, np.array([6.0, 4, 3])), "validation": (steps, steps / 500 + 2)}
    plots.curves(lines, path, label="nats per event")
    assert all(count_pixels(path, to_rgb(colour)) > 50 for colour in plots.LINE_COLOURS[:2])
    plots.curves({"training": lines["training"]}, path, label="nats per event")
    assert count_pixels(path, to_rgb(plots.LINE_COLOURS[1])) == 0
