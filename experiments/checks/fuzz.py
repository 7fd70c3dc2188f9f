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

import collections
import contextlib
import dataclasses
import functools
import importlib.util
import json
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from absl import flags

from midijax import _smf, cli, midi, primer, progress, sources, survey
from midijax.errors import UserError
from midijax.events import NOTE_ON, NOTEBOOK, OORE_2018, PERFORMANCE_RNN, EventVocabulary
from midijax.performance import Performance

PRESETS = (OORE_2018, PERFORMANCE_RNN, NOTEBOOK)
MAX_SECONDS = 5.0  # of the processor, for one input
MAX_MEGABYTES = 500.0  # that one input may add to the peak of the process
MAX_MUTATIONS = 8
WHOLE_FILES = 0.1  # their share; the other inputs begin as excerpts
EXCERPT_BYTES = (200, 1000, 4000)
GUIDED_BYTES = 8000  # at most
NUM_ENCODED = 64  # files that token sequences are cut from
MEAN_EVENTS, MAX_EVENTS = 150, 2000
CARRIED_ON = 100  # one input in so many
# Functions that compare arrays, and hardly branch: atheris 3.0.0 never frees what a comparison that
# it watches results in.
UNWATCHED = {"track", "_messages", "_notes", "_pedal", "__init__"}

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
    "num_guided", 200_000, "How many files to mutate under atheris.", 0, flag_values=FLAGS
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
        ("blind", read_blindly, _NUM_BLIND.value),
        ("guided", read_guided, _NUM_GUIDED.value),
        ("sequences", decode_sequences, _NUM_SEQUENCES.value),
    ):
        if num:
            account = _in_process(campaign, Account(name, folder), files, num, _SEED.value)
            print(account, flush=True)
            failures += account.failures.total()
    return int(failures > 0)


def _peak_megabytes() -> float:
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if sys.platform == "darwin" else 1e3)


@dataclasses.dataclass
class Account:
    """What came of the inputs of one campaign.

    Attributes:
      name: of the campaign.
      folder: where inputs that fail are kept.
      accepted: how many were read or decoded.
      refused: how many were not, by the reason, numbers left out.
      failures: how many ended as none may, by what happened.
      carried_on: how many performances went through all that can be done with one.
      slowest: processor seconds of the slowest input.
      megabytes: the peak memory of the process.
      seconds: how long it all took.
      notes: what else there is to say.
    """

    name: str
    folder: Path
    accepted: int = 0
    refused: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    carried_on: int = 0
    slowest: float = 0.0
    megabytes: float = dataclasses.field(default_factory=_peak_megabytes)
    seconds: float = 0.0
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def inputs(self) -> int:
        """How many there were."""
        return self.accepted + self.refused.total() + self.failures.total()

    def take(
        self,
        content: bytes,
        function: Callable[[], Performance],
        check: Callable[[Performance], list[str]],
    ) -> None:
        """Calls a function on an input: it may give a performance or raise `MidiError`.

        Args:
          content: the input, to be kept should it fail.
          function: reads or decodes it.
          check: what is wrong with the performance.
        """
        fault, performance, started = "", None, time.process_time()
        try:
            with _deadline():
                performance = function()
        except midi.MidiError as error:
            refusal = re.sub(r"\d[\d.]*", "N", error.reason)
        except Exception as error:
            fault = _told(error)
        self.slowest = max(self.slowest, time.process_time() - started)
        before, self.megabytes = self.megabytes, _peak_megabytes()
        if self.megabytes - before > MAX_MEGABYTES:
            fault = f"over {MAX_MEGABYTES:.0f} MB"
        elif performance is not None:
            fault = self._examine(performance, check)
        if fault:
            self._keep(fault, content)
        elif performance is None:
            self.refused[refusal] += 1
        else:
            self.accepted += 1

    def _examine(self, performance: Performance, check: Callable[[Performance], list[str]]) -> str:
        try:
            found = check(performance)
            if not found and len(performance.notes) and self.inputs % CARRIED_ON == 0:
                self.carried_on += 1
                found = carry_on(performance)
        except Exception as error:
            return _told(error)
        return ", ".join(found)

    def _keep(self, fault: str, content: bytes) -> None:
        self.failures[fault] += 1
        if self.failures[fault] == 1:
            path = self.folder / f"{self.name}-{len(self.failures):03d}"
            path.with_suffix(".input").write_bytes(content)
            path.with_suffix(".txt").write_text(fault + "\n")

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.inputs:,} inputs in {self.seconds:,.0f} s; {self.accepted:,} "
            f"accepted ({self.carried_on:,} of them carried on), {self.refused.total():,} refused, "
            f"{self.failures.total():,} failed",
            f"  slowest {self.slowest:.3f} s, peak memory {self.megabytes:.0f} MB",
            *(f"  {note}" for note in self.notes),
            *(f"  refused {count:>9,}  {reason}" for reason, count in self.refused.most_common()),
            *(f"  FAILED {count:>10,}  {fault}" for fault, count in self.failures.most_common()),
        ]
        return "\n".join(lines)


# Campaigns: account, files, number of inputs, seed, and what to call at the end.


def read_blindly(
    account: Account, files: list[bytes], num: int, seed: int, _: Callable[[], NoReturn]
) -> None:
    """Reads mutated files and excerpts."""
    rng = random.Random(seed)
    for _number in progress.bar(range(num), desc=account.name, unit="file"):
        read(account, mutate(rng, excerpt(rng, rng.choice(files), WHOLE_FILES), files))


def read_guided(
    account: Account, files: list[bytes], num: int, seed: int, finish: Callable[[], NoReturn]
) -> None:
    """Reads excerpts, one of each file, and what atheris makes of them."""
    import atheris

    for function in _functions(_smf, midi):
        if function.__name__ not in UNWATCHED:
            atheris.instrument_func(function)
    rng = random.Random(seed)
    seeds = [excerpt(rng, data) for data in files]
    corpus = tempfile.TemporaryDirectory(dir=account.folder)
    for index, data in enumerate(seeds):
        Path(corpus.name, f"{index:05d}").write_bytes(data)
    total = num + len(seeds)
    bar = progress.bar(total=total, desc=account.name, unit="file")

    def mutate_guided(data: bytes, max_size: int, _: int) -> bytes:
        if rng.random() < 0.5:
            return atheris.Mutate(data, max_size)
        return mutate(rng, data, files)[:max_size]

    def read_guided_input(data: bytes) -> None:
        read(account, data)
        bar.update()
        if account.inputs == total:
            kept = sum(1 for _ in Path(corpus.name).iterdir()) - len(seeds)
            account.notes.append(f"{len(seeds):,} excerpts, {kept:,} inputs kept for new branches")
            corpus.cleanup()
            finish()

    options = f"-seed={seed + 1} -max_len={GUIDED_BYTES} -len_control=0 -verbosity=0".split()
    arguments = [sys.argv[0], *options, f"-artifact_prefix={account.folder}/", corpus.name]
    atheris.Setup(arguments, read_guided_input, custom_mutator=mutate_guided)
    atheris.Fuzz()


def decode_sequences(
    account: Account, files: list[bytes], num: int, seed: int, _: Callable[[], NoReturn]
) -> None:
    """Decodes sequences in each vocabulary by turns."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(files), min(NUM_ENCODED, len(files)), replace=False)
    performances = [midi.read_bytes(files[index], "x.mid") for index in chosen]
    played = [[vocabulary.encode(p) for p in performances] for vocabulary in PRESETS]
    for number in progress.bar(range(num), desc=account.name, unit="sequence"):
        vocabulary = PRESETS[number % len(PRESETS)]
        decode(account, vocabulary, sequence(rng, vocabulary, played[number % len(PRESETS)]))


def read(account: Account, data: bytes) -> None:
    """Reads one file."""
    account.take(data, functools.partial(midi.read_bytes, data, "x.mid"), file_faults)


def decode(account: Account, vocabulary: EventVocabulary, tokens: np.ndarray) -> None:
    """Decodes one sequence."""
    account.take(
        tokens.astype(np.int64).tobytes(),
        functools.partial(vocabulary.decode, tokens),
        functools.partial(decoded_faults, vocabulary, tokens),
    )


# What is wrong with a performance.


def faults(performance: Performance) -> list[str]:
    """What no performance may be."""
    notes, pedal = performance.notes, performance.pedal
    onset, offset, pitch = notes["onset"], notes["offset"], notes["pitch"].astype(int)
    later, higher = np.diff(onset), np.diff(pitch)
    wrong = {
        "times are not finite": not np.isfinite(offset).all() or not np.isfinite(onset).all(),
        "onset before the start": (onset < 0).any(),
        "offset before onset": (offset < onset).any(),
        "notes out of order": ((later < 0) | ((later == 0) & (higher < 0))).any(),
        "pitch over 127": (pitch > 127).any(),
        "velocity not in 1..127": ((notes["velocity"] < 1) | (notes["velocity"] > 127)).any(),
        "pedal out of order": (np.diff(pedal["time"]) < 0).any(),
        "pedal before the start": (pedal["time"] < 0).any(),
        "pedal over 127": (pedal["value"] > 127).any(),
    }
    return [fault for fault, is_so in wrong.items() if is_so]


def file_faults(performance: Performance) -> list[str]:
    """What no performance from a file may be."""
    wrong = {
        "no notes": not len(performance.notes),
        "too many notes": len(performance.notes) > midi.MAX_NOTES,
        "too long": performance.duration > midi.MAX_SECONDS,
    }
    return faults(performance) + [fault for fault, is_so in wrong.items() if is_so]


def decoded_faults(
    vocabulary: EventVocabulary, tokens: np.ndarray, performance: Performance
) -> list[str]:
    """What no performance from these tokens may be."""
    events = tokens[(tokens >= 0) & (tokens < vocabulary.size)]
    onset, offset = (
        performance.notes[field] * vocabulary.steps_per_second for field in ("onset", "offset")
    )
    length = offset - onset
    steps = int(vocabulary.steps(events)[-1:].sum())
    wrong = {
        "notes lost or added": len(onset) != (vocabulary.kinds[events] == NOTE_ON).sum(),
        "times between steps": (np.abs(onset - np.rint(onset)) > 1e-6).any(),
        "shorter than a step": (length < 1 - 1e-6).any(),
        "longer than its events": (offset > steps + 1 + 1e-6).any(),
        "a pedal": len(performance.pedal) > 0,
    }
    return faults(performance) + [fault for fault, is_so in wrong.items() if is_so]


def carry_on(performance: Performance) -> list[str]:
    """Takes a performance through the pedal, the vocabularies, a primer, the survey and a file."""
    sustained = performance.apply_sustain()
    found = faults(sustained) + faults(performance.stretch(1.05))
    for vocabulary in PRESETS:
        tokens = vocabulary.encode(performance)
        decoded = vocabulary.decode(tokens)
        found += decoded_faults(vocabulary, tokens, decoded)
        if len(decoded.notes) != len(sustained.notes):
            found.append("notes lost in encoding")
        heard = primer.encode(vocabulary, performance, 5.0)
        found += faults(primer.join(vocabulary, heard, tokens[:100], include_primer=False))
    json.dumps(survey.measure(performance).summary(), allow_nan=False)
    with tempfile.TemporaryDirectory() as folder:
        midi.write(performance, Path(folder, "x.mid"))
        back = midi.read(Path(folder, "x.mid"))
    if sorted(back.notes["pitch"]) != sorted(performance.notes["pitch"]):
        found.append("notes lost in writing")
    return found


# Inputs.


def excerpt(rng: random.Random, data: bytes, whole: float = 0.0) -> bytes:
    """The file, with that chance, or its first bytes."""
    return data if rng.random() < whole else data[: rng.choice(EXCERPT_BYTES)]


def mutate(rng: random.Random, data: bytes, files: list[bytes]) -> bytes:
    """The data with one mutation or several; `files` lend pieces."""
    mutated = bytearray(data)
    for _ in range(rng.randint(1, MAX_MUTATIONS)):
        mutation = rng.choice(MUTATIONS)
        if len(mutated) > 1:
            mutation(rng, mutated, files)
    return bytes(mutated)


def _flip_bit(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set_byte(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    data[rng.randrange(len(data))] = rng.choice(BYTES)


def _insert_bytes(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    position = rng.randrange(len(data))
    data[position:position] = rng.randbytes(rng.randint(1, 8))


def _delete_bytes(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    position = rng.randrange(len(data))
    del data[position : position + rng.choice((1, 1, 2, 3, 4, 50, 500))]


def _repeat_bytes(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    position = rng.randrange(len(data))
    piece = data[position : position + rng.choice((1, 4, 8, 50))]
    data[position:position] = piece * rng.choice((1, 2, 10, 100))


def _truncate(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    del data[rng.randrange(len(data)) :]


def _splice(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    other = rng.choice(files)
    start, position = rng.randrange(len(other)), rng.randrange(len(data))
    length = rng.choice((4, 20, 200, 2000))
    data[position : position + rng.choice((0, length))] = other[start : start + length]


def _add_track(rng: random.Random, data: bytearray, files: list[bytes]) -> None:
    other = rng.choice(files)
    body = other[rng.randrange(len(other)) :][: rng.choice((0, 10, 300))]
    data += b"MTrk" + rng.choice((len(body), 0, 2**32 - 1)).to_bytes(4) + body


def _set_header(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Format, number of tracks or division."""
    start = rng.choice((8, 10, 12, 12))
    data[start : start + 2] = rng.choice(HEADER_FIELDS).to_bytes(2)


def _set_length(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """Of a chunk."""
    chunk = rng.choice([match.start() for match in re.finditer(b"MT(hd|rk)", data)] or [0])
    told = int.from_bytes(data[chunk + 4 : chunk + 8])
    lengths = (0, 1, 6, max(told - 1, 0), min(told + 1, 2**32 - 1), 2**31, 2**32 - 1)
    data[chunk + 4 : chunk + 8] = rng.choice(lengths).to_bytes(4)


def _set_delta(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """The time before an event, or, rarely, a length."""
    position = _status(rng, data)
    data[max(position - 1, 0) : position] = rng.choice(NUMBERS)


def _insert_event(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    position = max(_status(rng, data) - 1, 0)
    data[position:position] = rng.choice(NUMBERS) + rng.choice(EVENTS)


def _drop_status(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    """So that the status before runs on."""
    position = _status(rng, data)
    del data[position : position + 1]


def _set_tempo(rng: random.Random, data: bytearray, _: list[bytes]) -> None:
    position = data.find(TEMPO, rng.randrange(len(data)))
    start = position + len(TEMPO) if position >= 0 else max(_status(rng, data) - 1, 0)
    end = start + 3 if position >= 0 else start
    tempo = rng.choice((0, 1, 2**24 - 1, rng.randrange(2**24))).to_bytes(3)
    data[start:end] = tempo if position >= 0 else b"\0" + TEMPO + tempo


def _status(rng: random.Random, data: bytearray) -> int:
    """The position of a status byte, as far as one can tell without reading the file."""
    match = STATUS.search(data, rng.randrange(len(data)))
    return match.start() if match else len(data)


BYTES = bytes.fromhex("00 01 2F 3F 40 51 7E 7F 80 81 90 99 B0 C0 E0 F0 F7 F8 FE FF")
STATUS = re.compile(rb"(?<=[\x00-\x7f])[\x80-\xff]")
TEMPO = b"\xff\x51\x03"
HEADER_FIELDS = (
    *(0, 1, 2, 3, 24, 96, 480, 960, 0x7FFF, 0xFFFF, 0x8000, 0x8001, 0x80FF),
    *((256 - frames) << 8 | ticks for frames in (24, 25, 29, 30, 60) for ticks in (0, 1, 40, 255)),
)
# Of variable length: 0, 127, 128, 16384, the highest, one longer than it may be, one without end.
NUMBERS = tuple(
    map(bytes.fromhex, ("00", "7F", "81 00", "81 80 00", "FF FF FF 7F", "80 80 80 80 01", "FF FF"))
)
EVENTS = tuple(
    bytes.fromhex(event)
    for event in (
        *("90 3C 40", "80 3C 00", "90 3C 00", "3C 40", "99 3C 40", "90 FF FF", "9F 7F 7F"),
        *("B0 40 7F", "B0 40 00", "BF 40 80", "A0 3C 01", "C0 01", "D0 01", "E0 00 40", "90", "C5"),
        *("F0 02 01 F7", "F0 FF FF FF 7F", "F7 00", "F1 01", "F2 01 02", "F3 01", "F4", "F5", "F6"),
        *("F8", "FA", "FE", "F2", "FF", "FF 2F 00", "FF 2F 01 00", "FF 51 03 07 A1 20", "FF 51 00"),
        *("FF 51 03 00 00 00", "FF 51 03 00 00 01", "FF 51 04 7F FF FF FF", "FF 51 03 FF FF FF"),
        *("FF 58 04 00 00 00 00", "FF 59 02 7F 7F", "FF 7F 81 80 80 00", "FF 00 00", "FF 99 01 00"),
    )
)
MUTATIONS = (
    *(_flip_bit, _set_byte, _insert_bytes, _delete_bytes, _repeat_bytes, _truncate, _splice),
    *(_add_track, _set_header, _set_length, _set_delta, _insert_event, _drop_status, _set_tempo),
)


def sequence(
    rng: np.random.Generator, vocabulary: EventVocabulary, played: list[np.ndarray]
) -> np.ndarray:
    """Event ids (events,) of one of five sorts and any integer type that holds them."""
    length = min(int(rng.exponential(MEAN_EVENTS)), MAX_EVENTS)
    sort = rng.integers(5)
    if sort == 0:  # any events
        tokens = rng.integers(vocabulary.size, size=length)
    elif sort == 1:  # as many of each kind
        kinds = np.unique(vocabulary.kinds)
        bounds = np.append(np.searchsorted(vocabulary.kinds, kinds), vocabulary.size)
        kind = rng.integers(len(kinds), size=length)
        tokens = rng.integers(bounds[kind], bounds[kind + 1])
    elif sort == 2:  # a few, again and again
        tokens = rng.choice(rng.integers(vocabulary.size, size=6), length)
    else:  # as played, with faults
        source = played[rng.integers(len(played))]
        start = rng.integers(len(source))
        tokens = source[start : start + length].astype(np.int64)
        faulty = rng.random(len(tokens)) < 0.05
        pool = np.arange(vocabulary.size) if sort == 3 else NO_EVENTS
        tokens[faulty] = rng.choice(pool, int(faulty.sum()))
    if sort == 4:
        return tokens
    return tokens.astype(rng.choice(INTEGERS))


INTEGERS = ("int16", "uint16", "int32", "uint32", "int64", "uint64")  # those that hold every id
NO_EVENTS = np.array([-(2**63), -(2**31), -413, -2, -1, 413, 2**16, 2**31, 2**32, 2**63 - 1])


# Processes, time and memory.


def _in_process(campaign: Callable[..., None], account: Account, *arguments: Any) -> Account:
    """The account as the campaign leaves it; a process of its own has a memory of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(campaign, account, arguments, sender))
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        raise UserError(f"the {account.name} campaign was ended before it was done") from None
    finally:
        process.join()


def _run(
    campaign: Callable[..., None], account: Account, arguments: tuple, sender: Connection
) -> NoReturn:
    started = time.monotonic()

    def finish() -> NoReturn:
        account.seconds = time.monotonic() - started
        sender.send(account)
        sender.close()
        os._exit(0)  # libFuzzer has no other end

    warnings.simplefilter("error")
    campaign(account, *arguments, finish)
    finish()


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    """Raises TimeoutError in what takes more than MAX_SECONDS of the processor."""
    before = signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _out_of_time(*_: Any) -> NoReturn:
    raise TimeoutError(f"over {MAX_SECONDS:g} s")


def _told(error: Exception) -> str:
    """What happened and where."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(place.filename).name}, {place.name})"


def _functions(*modules: types.ModuleType) -> Iterator[types.FunctionType]:
    """The functions and methods that are written in these modules."""
    for module in modules:
        for member in list(vars(module).values()):
            owned = [member, *(vars(member).values() if isinstance(member, type) else ())]
            for function in owned:
                if (
                    isinstance(function, types.FunctionType)
                    and function.__module__ == module.__name__
                ):
                    yield function


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
