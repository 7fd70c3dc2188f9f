"""How fast MIDI files become training-ready: midijax.prepare beside MidiTok, 2 processes each.

Both read the first 300 files by name of a folder and tokenize them at 10 ms and 32 velocities;
midijax folds the pedal in, MidiTok is spared it. midijax counts the tokens and keeps the notes,
from which training cuts, transposes, stretches and tokenizes anew in every epoch; MidiTok keeps the
tokens as JSON. Imports are done before; starting processes counts.

    python experiments/benchmarks/preparation.py --input=MAESTRO --peers_python=peers/bin/python
"""

import tempfile
import time
from pathlib import Path

import benchmark
import machine
import turns
from absl import flags
from turns import Contestant

from midijax import cli, ingest, midi, sources
from midijax.errors import UserError

_INPUT = flags.DEFINE_string(
    "input", None, "Folder of MIDI files, searched to its depth.", flag_values=benchmark.FLAGS
)
MAX_FILES, NUM_PROCESSES = 300, 2


def measure() -> benchmark.Report:
    """All contestants, and what share of midijax's work is reading MIDI."""
    if not _INPUT.value:
        raise UserError("--input is needed: a folder of MIDI files")
    paths = sources.midi_files(cli.path(_INPUT.value))[:MAX_FILES]
    with tempfile.TemporaryDirectory() as folder:
        copies = benchmark.copy_files(paths, Path(folder).resolve())
        results = turns.run(
            _contestants(copies, len(paths)),
            benchmark.NUM_ROUNDS.value,
            benchmark.environment(),
        )
    rates = machine.measure()
    contents = [path.read_bytes() for path in paths]
    num_bytes = sum(map(len, contents))
    parsing, reading = parse_seconds(contents)
    floor = rates.read_bytes / num_bytes * len(paths)
    markdown = (
        f"{len(paths)} files, {num_bytes / 1e6:.1f} MB\n\n{turns.table(results, 'files')}\n\n"
        f"Peak MB: the largest process. Of the {1e3 * parsing / len(paths):.1f} ms of one "
        f"core that a file takes to become a record, reading MIDI takes {reading / parsing:.0%}. "
        f"Floor: passing the files' bytes once through memory allows {floor:,.0f} files/s; "
        f"midijax reaches {results[0].units_per_second / floor:.4%} of that, at "
        f"{1e9 * parsing / num_bytes:.0f} ns of Python and NumPy per byte."
    )
    figures = {
        "num_files": len(paths),
        "num_bytes": num_bytes,
        "parse_seconds": parsing,
        "read_seconds": reading,
        "rates": rates._asdict(),
        "floor_files_per_second": floor,
        "results": [result._asdict() for result in results],
    }
    return benchmark.Report(markdown, figures)


def _contestants(folder: str, num_files: int) -> list[Contestant]:
    settings = {"folder": folder, "num_files": num_files, "num_processes": NUM_PROCESSES}
    contestants = [Contestant("midijax", "midijax_preparation.py", settings)]
    if python := benchmark.PEERS_PYTHON.value:
        contestants.append(
            Contestant("MidiTok MIDILike", "miditok_preparation.py", settings, python)
        )
    return contestants


def parse_seconds(contents: list[bytes]) -> tuple[float, float]:
    """Seconds from bytes to records, and from bytes to performances, in this process."""
    start = time.perf_counter()
    for data in contents:
        ingest.parse("file", data)
    middle = time.perf_counter()
    for data in contents:
        midi.read_bytes(data, "file")
    return middle - start, time.perf_counter() - middle


if __name__ == "__main__":
    benchmark.run(measure, __doc__)
