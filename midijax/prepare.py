"""Makes a folder of MIDI recordings ready for training.

It reads every .mid and .midi file of the folders and zip archives you name, leaves out what cannot
be read (and says why) and what is there twice, sets some performances aside for validation, and
writes the rest in a form that training reads fast. Ctrl-C and SIGTERM end it with exit code 75.
Stopped or killed, the same command goes on from what was finished: at most 256 files for each
process are read again.

  python -m midijax.prepare --input=my_recordings --output_dir=runs/data/mine
  python -m midijax.prepare --dataset=maestro-v3
  python -m midijax.prepare            (the études that come with midijax)

A million files are shared among machines by Apache Beam (experiments/cloud/beam.md), with the same
result:

  python -m midijax.prepare --input=/shared/midi --output_dir=/shared/corpus \\
      --runner=FlinkRunner -- --flink_master=HOST:8081
"""

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from absl import flags

from midijax import (
    __version__,
    atomic,
    cache,
    cli,
    collection,
    config,
    corpus,
    download,
    etudes,
    mirror,
    outputs,
    parts,
    progress,
    sources,
    workers,
)
from midijax.corpus import Manifest, Recording, RecordingLike, Shard
from midijax.errors import UserError
from midijax.local_engine import LocalEngine
from midijax.parts import Part, Reading
from midijax.sources import Source
from midijax.stopping import TRY_AGAIN, Stopped, StopRequest

FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_list(
    "input",
    [],
    "MIDI files, or folders or zip archives with MIDI files, parted by commas.",
    flag_values=FLAGS,
)
_DATASET = flags.DEFINE_enum(
    "dataset", None, ["maestro-v3"], "A public collection to download.", flag_values=FLAGS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "Where the prepared corpus goes, a folder that is new or empty; if not given, a folder under "
    "runs/data that is named after the input.",
    flag_values=FLAGS,
)
_VALIDATION_FRACTION = flags.DEFINE_float(
    "validation_fraction",
    0.1,
    "Share of the performances set aside for validation, where the collection has no table (CSV) "
    "that says which.",
    lower_bound=0.0,
    upper_bound=0.9,
    flag_values=FLAGS,
)
_SEED = flags.DEFINE_integer(
    "seed",
    0,
    "Another seed sets other performances aside.",
    lower_bound=0,
    upper_bound=config.MAX_SEED,
    flag_values=FLAGS,
)
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    0,
    "How many files to read at a time; 0: one per core.",
    lower_bound=0,
    upper_bound=8 * workers.num_cores(),
    flag_values=FLAGS,
)
_RUNNER = flags.DEFINE_string(
    "runner",
    "",
    "An Apache Beam runner, such as DirectRunner or FlinkRunner, to prepare on many machines; "
    "its options follow all flags after --.",
    flag_values=FLAGS,
)
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir",
    None,
    "Where downloads are kept; if not given, $XDG_CACHE_HOME/midijax or ~/.cache/midijax.",
    flag_values=FLAGS,
)

MAESTRO_V3 = (
    "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip",
    "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
    64 * 2**20,  # bytes at most; it is of 56 MiB
)
_SHOWN = 10  # files left out; the manifest names all


class Engine(Protocol):
    """What does the work, and leaves out what an earlier run has done."""

    def read(self, parts: Sequence[Part]) -> None:
        """Reads the files of the parts and writes what comes of them."""

    def write(self, shards: Sequence[Shard]) -> None:
        """Writes the shards."""


def main(arguments: list[str]) -> int:
    """Prepares what the flags name, or is asked to stop."""
    engine = _engine(arguments)
    if _DATASET.value and _INPUT.value:
        raise UserError("--input and --dataset exclude each other; give one of them")
    if FLAGS["cache_dir"].present and not _DATASET.value:
        raise UserError("--cache_dir is for what --dataset downloads; give both or neither")
    if FLAGS["input"].present and not _INPUT.value:
        raise UserError("--input is empty; name what to read, or leave it out")
    inputs = [cli.path(text) for text in _INPUT.value]
    output_dir = cli.path(
        f"runs/data/{_default_name(inputs)}" if _OUTPUT_DIR.value is None else _OUTPUT_DIR.value
    )
    outputs.require_outside("output_dir", output_dir, inputs)
    outputs.require_folder("output_dir", output_dir)
    if _DATASET.value:
        outputs.require_folder("cache_dir", _cache_dir())
    try:
        with (
            StopRequest() as stop_requested,
            stop_requested.breaks_off(),
            mirror.new_folder(output_dir, last=corpus.MANIFEST) as local,
        ):
            manifest = _prepare(inputs, local, engine)
    except Stopped:
        print("Stopped; what is finished is kept: the same command goes on from there.")
        return TRY_AGAIN
    print(summary(manifest))
    print(
        f"Written to {output_dir}; train on it: "
        f"python -m midijax.train --data={output_dir} --workdir=runs/{output_dir.name}"
    )
    return 0


def _engine(arguments: list[str]) -> Engine:
    beam_options: list[str] = []
    if _RUNNER.value and "--" in arguments:
        separator = arguments.index("--")
        arguments, beam_options = arguments[:separator], arguments[separator + 1 :]
    cli.reject(arguments, FLAGS)
    if not _RUNNER.value:
        return LocalEngine(_NUM_WORKERS.value or workers.num_cores())
    if _NUM_WORKERS.value:
        raise UserError(
            "--num_workers is for this machine's processes; --runner has its own option"
        )
    logging.getLogger().setLevel(logging.ERROR)  # Beam tells of more than failures
    try:
        from midijax.beam_engine import BeamEngine
    except ImportError as error:
        raise UserError("--runner needs Apache Beam: pip install 'midijax[beam]'") from error
    return BeamEngine(_RUNNER.value, beam_options)


def _prepare(inputs: list[Path], output_dir: Path, engine: Engine) -> Manifest:
    with atomic.workspace(output_dir) as work:
        if _DATASET.value:
            inputs = [_download()]
        gathered = collection.Collection()
        divided = parts.divide(_find(inputs), work / "parts")
        _tell_of_unused(divided, work / "parts")
        for reading in _read(divided, engine) if inputs else _compose():
            gathered.add(reading)
        recordings = gathered.by_split(_SEED.value, _VALIDATION_FRACTION.value)
        if any(recordings.values()):
            unfinished = work / f"corpus-{_hash(recordings)}"
            manifest = corpus.fill(
                unfinished,
                recordings,
                _provenance(inputs),
                gathered.skipped,
                gathered.duplicates,
                engine.write,
            )
            atomic.remove_partials(unfinished)
            unfinished.rename(output_dir)
            return manifest
    name, reason = gathered.skipped[0]
    raise UserError(f"not one of the files could be read; '{name}', to begin with, {reason}")


def _default_name(inputs: list[Path]) -> str:
    if inputs:
        path = Path(os.path.realpath(inputs[0]))
        return path.stem if path.is_file() else path.name
    return _DATASET.value or "etudes"


def _download() -> Path:
    url, sha256, max_bytes = MAESTRO_V3
    return download.fetch(url, _cache_dir() / Path(url).name, sha256, max_bytes)


def _cache_dir() -> Path:
    if _CACHE_DIR.value is not None:
        return cli.path(_CACHE_DIR.value)
    try:
        return cache.folder()
    except RuntimeError as error:
        raise UserError("there is no home folder; name one by --cache_dir") from error


def _find(inputs: list[Path]) -> list[Source]:
    places = [mirror.fetched(path) for path in inputs]
    if _RUNNER.value:  # whose workers may stand in other folders
        places = [place.absolute() for place in places]
    return [source for place in places for source in sources.find(place)]


def _tell_of_unused(divided: Sequence[Part], folder: Path) -> None:
    if unused := parts.unused(divided, folder):
        print(
            f"'{folder}' holds finished parts ({len(unused):,}) of other files, or of these before "
            "they changed: they are not used, and go when this run is finished",
            file=sys.stderr,
        )


def _read(divided: Sequence[Part], engine: Engine) -> Iterator[Reading]:
    engine.read(divided)
    for part in divided:
        yield from part.readings()


def _compose() -> Iterator[Reading]:
    for name, performance in progress.bar(etudes.corpus(), desc="composing", unit="étude"):
        yield Reading(name, Recording.of(name, performance))


def _hash(recordings: Mapping[str, Sequence[RecordingLike]]) -> str:
    """Tells shards of these recordings from those of others."""
    digest = hashlib.sha256(__version__.encode())
    for split, members in recordings.items():
        for member in members:
            digest.update(f"{split} {member.entry.sha256} {member.entry.name}\n".encode())
    return digest.hexdigest()[:16]


def _provenance(inputs: list[Path]) -> dict[str, Any]:
    return {
        "dataset": _DATASET.value or ("" if inputs else "etudes"),
        "inputs": [str(path) for path in inputs],
        "seed": _SEED.value,
        "validation_fraction": _VALIDATION_FRACTION.value,
    }


def summary(manifest: Manifest) -> str:
    """A table of the splits, then what was left out and why."""
    lines = [f"{'':12}{'files':>10}{'hours':>10}{'notes':>14}{'events':>14}"]
    for split in manifest.shards:
        total = manifest.totals(split)
        lines.append(
            f"{split:12}{total['files']:>10,}{total['hours']:>10,.1f}"
            f"{total['notes']:>14,}{total['events']:>14,}"
        )
    copies = [(name, f"is the same as {first}") for name, first in manifest.duplicates]
    lines += _left_out("duplicates", copies) + _left_out("skipped", manifest.skipped)
    return "\n".join(lines)


def _left_out(what: str, files: list[tuple[str, str]]) -> list[str]:
    lines = [f"{what:12}{len(files):>10,}"]
    lines += [f"  {name}: {reason}" for name, reason in files[:_SHOWN]]
    if len(files) > _SHOWN:
        lines.append(f"  ... and {len(files) - _SHOWN:,} more, in {corpus.MANIFEST}")
    return lines


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
