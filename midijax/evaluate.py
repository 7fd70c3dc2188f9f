"""Measures how well a trained model predicts performances: lower is better.

The model follows each performance and says before every event how likely it is. The surprise is
told in nats per event, per note and per second of music; the accuracy is the share of events that
were the model's first guess. Each is given over whole performances, which the model follows from
the first note to the last, and over crops of 2048 events, before each of which it knows nothing.

  python -m midijax.evaluate                       (the model that train makes if given nothing)
  python -m midijax.evaluate --workdir=runs/mine --data=runs/data/mine --json=scores.json
  python -m midijax.evaluate --workdir=runs/mine --data=my_recordings --max_events=6000

With --num_generated the model also plays, and what it plays is held against real performances:
density, timing, loudness, polyphony, pitch and pedal; how much repeats itself, whether it trails
off, and how much is known from the training data. --report_dir makes a page of it all, with
pictures:

  python -m midijax.evaluate --workdir=runs/mine --data=runs/data/mine --num_generated=128 \\
      --report_dir=runs/mine/report

The work is divided among all devices; started on several hosts with --distributed, among those of
all, if all of them see the --workdir and the --data; what is generated is judged by one process.
"""

import dataclasses
import itertools
import json
import math
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from absl import flags

from midijax import (
    atomic,
    cli,
    config,
    corpus,
    distributed,
    midi,
    mirror,
    outputs,
    remote,
    sampling_flags,
    sources,
)
from midijax.errors import UserError, require
from midijax.events import KIND_NAMES, EventVocabulary
from midijax.performance import Performance

if TYPE_CHECKING:
    from midijax.checkpoint import Loaded
    from midijax.judging import Judgement, Plan

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    config.DEFAULT_WORKDIR,
    "The folder of a trained model; its best checkpoint is measured.",
    flag_values=FLAGS,
)
_DATA = flags.DEFINE_string(
    "data",
    None,
    "What to predict: a corpus made by midijax.prepare, a MIDI file, or a folder or zip archive "
    "of them; if not given, the études, if it is them that the model was trained on.",
    flag_values=FLAGS,
)
_SPLIT = flags.DEFINE_enum(
    "split",
    "validation",
    corpus.SPLITS,
    "Which part of the corpus. Of MIDI files only those count that a table (CSV) beside them puts "
    "there; without a table, all.",
    flag_values=FLAGS,
)
_JSON = flags.DEFINE_string("json", None, "Also write all figures to this file.", flag_values=FLAGS)
_MAX_PERFORMANCES = flags.DEFINE_integer(
    "max_performances",
    0,
    "For a quick look, only this many performances, the first ones; 0: all.",
    lower_bound=0,
    upper_bound=2**31 - 1,
    flag_values=FLAGS,
)
_MAX_EVENTS = flags.DEFINE_integer(
    "max_events",
    0,
    "For a quick look, only the first so many events of each performance; 0: all.",
    lower_bound=0,
    upper_bound=2**31 - 1,
    flag_values=FLAGS,
)
_BATCH_SIZE = flags.DEFINE_integer(
    "batch_size",
    64,
    "How many performances to follow at once; it changes the speed and the memory taken, not the "
    "figures.",
    lower_bound=1,
    upper_bound=2**16,
    flag_values=FLAGS,
)
_NUM_GENERATED = flags.DEFINE_integer(
    "num_generated",
    0,
    "Also let the model play this many performances, nothing asked of it, and hold them against "
    "real ones; --data is then a prepared corpus with a training split. Each is --drift_seconds "
    "long, or --generated_seconds without. 0: none.",
    lower_bound=0,
    upper_bound=10_000,
    flag_values=FLAGS,
)
_GENERATED_SECONDS = flags.DEFINE_float(
    "generated_seconds",
    60.0,
    "How much of each performance, generated or real, is compared.",
    lower_bound=1.0,
    upper_bound=3600.0,
    flag_values=FLAGS,
)
_DRIFT_SECONDS = flags.DEFINE_float(
    "drift_seconds",
    300.0,
    "How long the generated performances go on, to hold their end against their beginning and "
    "against real music; left out where too few real ones are as long. 0: not at all.",
    lower_bound=0.0,
    upper_bound=3600.0,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "What chance begins with in generating and in choosing excerpts.",
    lower_bound=0,
    upper_bound=config.MAX_SEED - 10_000,  # batches take the next ones
    flag_values=FLAGS,
)
_REPORT_DIR = flags.DEFINE_string(
    "report_dir",
    None,
    "Also write report.md here: tables, pictures, and some of the music.",
    flag_values=FLAGS,
)
sampling_flags.define_flags(FLAGS)
distributed.define_flags(FLAGS)

_OF_GENERATED = ("generated_seconds", "drift_seconds", "seed", "report_dir", *sampling_flags.NAMES)

Skipped = list[tuple[str, str]]


def main(arguments: list[str]) -> None:
    """Scores the model, prints the figures and writes them if asked to."""
    cli.reject(arguments, FLAGS)
    _check_generated()
    given = [] if _DATA.value is None else [cli.path(_DATA.value)]
    json_path = None if _JSON.value is None else cli.path(_JSON.value)
    if json_path:
        outputs.require_file("json", json_path, inputs=given)
    report_dir = None if _REPORT_DIR.value is None else cli.path(_REPORT_DIR.value)
    if report_dir:
        outputs.require_folder("report_dir", report_dir)
    with distributed.joined(FLAGS) as processes:
        if _NUM_GENERATED.value:
            require(processes.count == 1, "num_processes", processes.count, "1 to generate music")
        _evaluate(json_path, report_dir, processes.is_primary)


def _check_generated() -> None:
    """Refuses flags that are of generated music where none is asked for."""
    for name in _OF_GENERATED:
        if FLAGS[name].present and not _NUM_GENERATED.value:
            raise UserError(f"--{name} is of generated music; ask for it by --num_generated=128")


def _evaluate(json_path: Path | None, report_dir: Path | None, is_primary: bool) -> None:
    import jax  # after --help and bad flags

    from midijax import checkpoint
    from midijax.compilation import enable_compile_cache

    enable_compile_cache()
    plan = _plan() if _NUM_GENERATED.value else None
    loaded = checkpoint.load(cli.path(_WORKDIR.value))
    loaded = dataclasses.replace(loaded, params=jax.device_get(loaded.params))
    data = _data()
    judgement = _judge(loaded, data, plan) if plan else None
    figures = _score(loaded, data, progress=is_primary)
    if judgement:
        figures["music"] = judgement.figures
    if not is_primary:
        return
    print(table(figures))
    if json_path:
        atomic.write_text(json_path, json.dumps(figures, indent=2, allow_nan=False) + "\n")
    if judgement:
        _tell(figures, judgement, report_dir)


def _plan() -> "Plan":
    from midijax.judging import Plan

    return Plan(
        count=_NUM_GENERATED.value,
        seconds=_GENERATED_SECONDS.value,
        drift_seconds=_DRIFT_SECONDS.value,
        seed=_SEED.value,
        settings=sampling_flags.settings(FLAGS),
    )


def _judge(loaded: "Loaded", data: Path, plan: "Plan") -> "Judgement":
    from midijax import judging

    folder = mirror.fetched(data)
    if not (folder / corpus.MANIFEST).exists() or _SPLIT.value == "train":
        raise UserError(
            "--num_generated holds what is played against the training split of a prepared corpus "
            "and against another; give --data as midijax.prepare made it, and no --split=train"
        )
    reference = judging.read(folder, _SPLIT.value, loaded.config, plan)
    return judging.judge(loaded, reference, plan)


def _tell(figures: dict[str, Any], judgement: "Judgement", report_dir: Path | None) -> None:
    from midijax import report, report_tables

    print(f"\n{report_tables.summary(figures['music'])}")
    if report_dir:
        report.write(report_dir, figures, judgement, cli.path(_WORKDIR.value), _command())
        print(f"Written to {report_dir / report.PAGE}")


def _command() -> str:
    """What was asked, as words for a shell."""
    asked = [f"--{name}={FLAGS[name].value}" for name in FLAGS if FLAGS[name].present]
    return shlex.join(["python", "-m", "midijax.evaluate", *asked])


def _score(loaded: "Loaded", data: Path, progress: bool) -> dict[str, Any]:
    from midijax import metrics, model
    from midijax.train_step import data_mesh

    skipped = Skipped()
    vocabulary, network = loaded.config.vocabulary, model.from_config(loaded.config)
    sequences = _sequences(_performances(data, _SPLIT.value, skipped), vocabulary)
    scores = {
        protocol: metrics.score(
            network,
            loaded.params,
            pieces,
            vocabulary,
            _BATCH_SIZE.value,
            mesh=data_mesh(),
            progress=progress,
        ).to_json()
        for protocol, pieces in (("whole", sequences), ("crops", metrics.crops(sequences)))
    }
    return {
        "checkpoint": str(loaded.path),
        "step": loaded.step,
        "data": str(data),
        "split": _SPLIT.value,
        "performances": len(sequences),
        "max_events": _MAX_EVENTS.value,
        "vocabulary": dataclasses.asdict(vocabulary),
        **scores,
        "skipped": [{"name": name, "reason": reason} for name, reason in skipped],
    }


def table(report: dict[str, Any]) -> str:
    """The figures of a report for reading, one column for each protocol."""
    columns = report["whole"], report["crops"]
    rows = [
        ("", "whole", "crops"),
        *(_row(name.replace("_", " "), name, columns) for name in _RATIOS),
        _row("events", "events", columns),
    ]
    for kind in KIND_NAMES:
        by_kind = [column["by_kind"][kind] for column in columns]
        rows.append((kind.replace("_", "-"), "", ""))
        rows += [_row(f"  {name.replace('_', ' ')}", name, by_kind) for name in _KIND_ROWS]
    vocabulary = EventVocabulary(**report["vocabulary"])
    heading = (
        f"{report['checkpoint']}, trained for {report['step']:,} steps\n"
        f"on {report['data']}, {report['split']}: {report['performances']:,} performances, "
        f"{vocabulary.size} events of {1000 / vocabulary.steps_per_second:g} ms;\n"
        f"guessing blindly would score {math.log(vocabulary.size):.2f} nats per event\n"
    )
    lines = (f"{name:<18}{whole:>14}{crops:>14}".rstrip() for name, whole, crops in rows)
    return "\n".join([heading, *lines])


_RATIOS = ("nats_per_event", "nats_per_note", "nats_per_second", "accuracy")
_KIND_ROWS = (*_RATIOS, "count")


def _row(title: str, name: str, columns: Any) -> tuple[str, str, str]:
    whole, crops = (_cell(column[name]) for column in columns)
    return title, whole, crops


def _cell(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _data() -> Path:
    if _DATA.value is None:
        data = cli.path(_WORKDIR.value) / "etudes"
        missing = f"{_WORKDIR.value} was not trained on the études; name what to predict by --data"
    else:
        data = cli.path(_DATA.value)
        missing = f"--data={data} does not exist; name a prepared corpus or MIDI files"
    if not (remote.is_remote(data) or data.exists()):
        raise UserError(missing)
    return data


def _performances(data: Path, split: str, skipped: Skipped) -> Iterator[Performance]:
    """The performances of a prepared corpus, or of MIDI files; fills `skipped` (file, reason)."""
    data = mirror.fetched(data)
    if (data / corpus.MANIFEST).exists():
        records = corpus.open_split(data, split)
        yield from (corpus.unpack(records[index])[1] for index in range(len(records)))
        return
    chosen = [source for source in sources.find(data) if source.split in ("", split)]
    if not chosen:
        raise UserError(f"the table in '{data}' puts no file into the {split} split")
    for source in chosen:
        try:
            yield midi.read_bytes(source.read(), source.name)
        except UserError as error:
            skipped.append((source.name, error.reason))
            print(f"skipped {source.name}: {error.reason}", file=sys.stderr)


def _sequences(
    performances: Iterator[Performance], vocabulary: EventVocabulary
) -> list[np.ndarray]:
    return [
        vocabulary.encode(performance)[: _MAX_EVENTS.value or None]
        for performance in itertools.islice(performances, _MAX_PERFORMANCES.value or None)
    ]


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
