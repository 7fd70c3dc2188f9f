"""Shows what is in MIDI files: their make-up, their music, and what `prepare` would leave out.

Give it files, folders (searched with all their subfolders) or zip archives, or nothing for the
études that come with midijax. It tells how the files are made (type, resolution, messages), how
long the music is, how fast, how loud, how high, how many notes sound at once, what the pedal does,
and which files cannot be used and why.

  python -m midijax.explore sonata.mid
  python -m midijax.explore my_recordings --plots_dir=pictures
  python -m midijax.explore my_recordings more_recordings --json=figures.json
"""

import json
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from midijax import atomic, cli, etudes, midi, mirror, outputs, progress, sources, workers
from midijax.errors import UserError
from midijax.performance import NUM_PITCHES
from midijax.sources import Source
from midijax.survey import (
    SHORTEST_MILLISECONDS,
    Catalogue,
    Measures,
    Survey,
    logarithmic_bins,
    survey_file,
    survey_performance,
)
from midijax.survey_table import table

FLAGS = flags.FlagValues()
_JSON = flags.DEFINE_string(
    "json",
    None,
    "Also write all figures, of each file and of all, to this file.",
    flag_values=FLAGS,
)
_PLOTS_DIR = flags.DEFINE_string(
    "plots_dir",
    None,
    "Also draw histograms of pitch, velocity, time between notes and length of notes into this "
    "folder, and of a single file the piano roll.",
    flag_values=FLAGS,
)

FEW_FILES = 8  # read here rather than by several processes
FILES_PER_ERRAND = 4


def main(arguments: list[str]) -> None:
    """Surveys what the arguments name."""
    cli.reject([argument for argument in arguments if argument.startswith("-")], FLAGS)
    paths = [cli.path(argument) for argument in arguments]
    places = ((mirror.fetched(path), str(path)) for path in paths)
    found = {source.name: source for place in places for source in sources.find(*place)}
    json_path, plots_dir = _outputs([*paths, *map(Path, found)])
    catalogue = Catalogue()
    files = list(found.values())
    for survey in _survey_files(files) if arguments else _survey_etudes():
        catalogue.add(survey)
    title = sources.printable(", ".join(arguments)) or "the études that come with midijax"
    print(table(title, catalogue))
    if json_path:
        figures = {"total": catalogue.total(), "files": catalogue.files}
        atomic.write_text(json_path, json.dumps(figures, indent=1) + "\n")
    if plots_dir:
        _draw(catalogue, files, plots_dir)


def _outputs(inputs: list[Path]) -> tuple[Path | None, Path | None]:
    """Where the figures and the pictures go."""
    json_path = None if _JSON.value is None else cli.path(_JSON.value)
    plots_dir = None if _PLOTS_DIR.value is None else cli.path(_PLOTS_DIR.value)
    if json_path:
        outputs.require_file("json", json_path, inputs)
    if plots_dir:
        outputs.require_folder("plots_dir", plots_dir)
    if json_path and plots_dir and json_path in (plots_dir, *plots_dir.parents):
        raise UserError(f"--json={json_path} would be in the way of --plots_dir; name another file")
    return json_path, plots_dir


def _survey_etudes() -> Iterator[Survey]:
    for name, performance in etudes.corpus():
        yield survey_performance(name, performance)


def _survey_files(files: list[Source]) -> Iterator[Survey]:
    """The surveys in the order of the files; many are shared among all cores."""
    if len(files) <= FEW_FILES:
        yield from map(survey_file, files)
        return
    with workers.new_pool() as pool:
        surveys = pool.map(survey_file, files, chunksize=FILES_PER_ERRAND)
        try:
            yield from progress.bar(surveys, desc="exploring", total=len(files), unit="file")
        except BrokenProcessPool as error:
            raise UserError("a reading process was ended (not enough memory?)") from error
        finally:
            pool.shutdown(cancel_futures=True)


def _draw(catalogue: Catalogue, files: list[Source], folder: Path) -> None:
    """Draws what the catalogue's music is like; nothing if it holds none."""
    from midijax import plots  # Matplotlib, only where something is to be drawn

    if not catalogue.measures:
        print("No pictures drawn: there is no music to draw.")
        return
    for name, counts, edges, options in _histograms(catalogue.measures):
        plots.histogram(counts, edges, folder / f"{name}.png", **options)
    if len(files) == 1:
        (file,) = files
        performance = midi.read_bytes(file.read(), file.name)
        plots.piano_roll(performance, folder / "piano_roll.png", Path(file.name).name)
    print(f"Pictures drawn in {folder}")


def _histograms(measures: Measures) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Name, counts, edges and options of each."""
    each = np.arange(NUM_PITCHES + 1) - 0.5
    yield "pitch", measures.pitches, each, {"label": "pitch", "pitches": True}
    yield "velocity", measures.velocities, each, {"label": "velocity"}
    for counts, name, label in (
        (measures.inter_onsets, "inter_onset", "seconds from one onset to the next"),
        (measures.durations, "duration", "seconds from key down to key up"),
    ):
        shorter = counts[:SHORTEST_MILLISECONDS].sum() / max(counts.sum(), 1)
        title = f"{shorter:.1%} are shorter than {SHORTEST_MILLISECONDS} ms and not shown"
        yield name, *logarithmic_bins(counts), {"label": label, "title": title}


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
