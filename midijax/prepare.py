"""Makes a folder of MIDI recordings ready for training.

It reads every .mid and .midi file of the folders and zip archives you name, leaves out what cannot
be read (and says why) and what is there twice, sets some performances aside for validation, and
writes the rest in a form that training reads fast.

  python -m midijax.prepare --input=my_recordings --output_dir=runs/data/mine
  python -m midijax.prepare --dataset=maestro-v3
  python -m midijax.prepare            (the études that come with midijax)
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from absl import flags

from midijax import (
    atomic,
    cli,
    config,
    corpus,
    download,
    etudes,
    ingest,
    outputs,
    progress,
    sources,
    workers,
)
from midijax.collection import Collection
from midijax.corpus import Manifest, Recording
from midijax.errors import UserError
from midijax.ingest import Reading
from midijax.sources import Source

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
_CACHE_DIR = flags.DEFINE_string(
    "cache_dir", "~/.cache/midijax", "Where downloads are kept.", flag_values=FLAGS
)

MAESTRO_V3 = (
    "https://storage.googleapis.com/magentadata/datasets/maestro/v3.0.0/maestro-v3.0.0-midi.zip",
    "70470ee253295c8d2c71e6d9d4a815189e35c89624b76d22fce5a019d5dde12c",
    64 * 2**20,  # bytes at most; it is of 56 MiB
)
_SHOWN = 10  # files left out; the manifest names all


def main(arguments: list[str]) -> None:
    """Prepares what the flags name."""
    cli.reject(arguments, FLAGS)
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
        outputs.require_folder("cache_dir", cli.path(_CACHE_DIR.value))
    with (
        atomic.new_folder(output_dir) as folder,
        tempfile.TemporaryFile(dir=folder) as spool,
    ):
        if _DATASET.value:
            inputs = [_download()]
        collection = Collection(spool)
        readings = _read_files(inputs) if inputs else _compose()
        for reading in readings:
            collection.add(reading)
        manifest = _write(folder, collection, inputs)
    print(summary(manifest))
    print(
        f"Written to {output_dir}; train on it: "
        f"python -m midijax.train --data={output_dir} --workdir=runs/{output_dir.name}"
    )


def _default_name(inputs: list[Path]) -> str:
    if inputs:
        path = Path(os.path.realpath(inputs[0]))
        return path.stem if path.is_file() else path.name
    return _DATASET.value or "etudes"


def _download() -> Path:
    url, sha256, max_bytes = MAESTRO_V3
    return download.fetch(url, cli.path(_CACHE_DIR.value) / Path(url).name, sha256, max_bytes)


def _read_files(inputs: list[Path]) -> Iterator[Reading]:
    found: list[Source] = [source for path in inputs for source in sources.find(path)]
    num_workers = _NUM_WORKERS.value or workers.num_cores()
    readings = ingest.read_all(found, min(num_workers, len(found)))
    return iter(progress.bar(readings, desc="reading", total=len(found), unit="file"))


def _compose() -> Iterator[Reading]:
    for name, performance in progress.bar(etudes.corpus(), desc="composing", unit="étude"):
        yield Reading(name, Recording.of(name, performance))


def _write(folder: Path, collection: Collection, inputs: list[Path]) -> Manifest:
    recordings = collection.by_split(_SEED.value, _VALIDATION_FRACTION.value)
    if not any(recordings.values()):
        name, reason = collection.skipped[0]
        raise UserError(f"not one of the files could be read; '{name}', to begin with, {reason}")
    provenance = {
        "dataset": _DATASET.value or ("" if inputs else "etudes"),
        "inputs": [str(path) for path in inputs],
        "seed": _SEED.value,
        "validation_fraction": _VALIDATION_FRACTION.value,
    }
    return corpus.fill(folder, recordings, provenance, collection.skipped, collection.duplicates)


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
