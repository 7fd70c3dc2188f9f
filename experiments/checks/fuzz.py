"""Feeds the reader broken recordings and the decoder any tokens, and tells what came of it.

Three campaigns start from the MIDI files of a folder, whole and in excerpts:

- blind: files with one to eight mutations (bits, bytes, chunks, lengths, times, running status),
- guided: these and libFuzzer's own mutations, steered to new branches of the reader by atheris
  (`pip install -e '.[fuzz]'`; left out with --num_guided=0),
- sequences: event ids by chance, by kind, from the files, and some that are no events.

    python experiments/checks/fuzz.py --input=FOLDER --output_dir=FINDINGS

A file is to be read, or refused by a `MidiError`, within 5 seconds and 500 MB. What is read, and
whatever is decoded, is to be a sound performance; one in a hundred is carried on through the pedal,
the three vocabularies, a primer, the survey and a written file. The first input of each kind of
failure is kept in --output_dir, and the exit code is 1 if there is any.

Measured from the 1,099 train and validation files of MAESTRO v3.0.0 and 37 of the International
Piano-e-Competition, on a fraction of one busy core: 200,000 files blindly (148,245 read, 51,755
refused), 61,136 guided (19,146 read, 41,990 refused; 273 kept for new branches) and 1,000,000
sequences. None failed; the slowest read took 0.06 s of the processor, the slowest decoding 0.009 s,
and no process more than 150 MB.
"""

import importlib.util

from absl import flags
from fuzzing import campaigns, guided, processes
from fuzzing.account import Account

from midijax import cli, sources
from midijax.errors import UserError

FLAGS = flags.FlagValues()
_INPUT = flags.DEFINE_string(
    "input", None, "Folder of MIDI files, searched to its depth.", flag_values=FLAGS
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir", None, "Folder for inputs that fail.", flag_values=FLAGS
)
_NUM_BLIND = flags.DEFINE_integer(
    "num_blind", 200_000, "How many files to mutate blindly.", 0, flag_values=FLAGS
)
_NUM_GUIDED = flags.DEFINE_integer(
    "num_guided", 60_000, "How many files to mutate under atheris.", 0, flag_values=FLAGS
)
_NUM_SEQUENCES = flags.DEFINE_integer(
    "num_sequences", 1_000_000, "How many token sequences to decode.", 0, flag_values=FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Another seed makes other inputs.", 0, flag_values=FLAGS)


def main(arguments: list[str]) -> int:
    """Runs the campaigns, each in a process of its own, and prints their accounts."""
    cli.reject(arguments, FLAGS)
    if not _INPUT.value or not _OUTPUT_DIR.value:
        raise UserError("--input and --output_dir are both needed")
    if _NUM_GUIDED.value and not importlib.util.find_spec("atheris"):
        raise UserError("atheris is missing: pip install -e '.[fuzz]', or give --num_guided=0")
    files = [path.read_bytes() for path in sources.midi_files(cli.path(_INPUT.value))]
    folder = cli.path(_OUTPUT_DIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    failures = 0
    for name, campaign, num in (
        ("blind", campaigns.read_blindly, _NUM_BLIND.value),
        ("guided", guided.read_guided, _NUM_GUIDED.value),
        ("sequences", campaigns.decode_sequences, _NUM_SEQUENCES.value),
    ):
        if num:
            account = processes.run(campaign, Account(name, folder), files, num, _SEED.value)
            print(account, flush=True)
            failures += account.failures.total()
    return int(failures > 0)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
