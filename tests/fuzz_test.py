"""Anything as input: a short run of experiments/checks/fuzz.py, and a second, slow reader."""

import collections
import contextlib
import random
import subprocess
import sys

import mido
import numpy as np
import pytest
from fuzzing import limits, soundness, targets
from fuzzing.account import Account
from fuzzing.mutations import MUTATIONS, excerpt, mutate
from fuzzing.sequences import sequence

from midijax import _smf, etudes, midi
from midijax.config import Config, ModelConfig
from midijax.events import NOTEBOOK, OORE_2018, PERFORMANCE_RNN
from midijax.performance import NOTE_DTYPE, Performance

CONFIG = Config(vocabulary=OORE_2018, model=ModelConfig(num_layers=1, hidden_size=4))
VOCABULARIES = (OORE_2018, PERFORMANCE_RNN, NOTEBOOK)
NUM_FILES, NUM_SEQUENCES = 1_000, 3_000


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """An étude as one track, and one as two with running status and tempos."""
    folder = tmp_path_factory.mktemp("files")
    midi.write(etudes.compose(0), folder / "one.mid")
    played = mido.MidiFile(folder / "one.mid").tracks[0]
    tempos = mido.MidiTrack(mido.MetaMessage("set_tempo", tempo=n, time=96) for n in (1, 6 * 10**5))
    mido.MidiFile(type=1, tracks=[tempos, played[:200]]).save(folder / "two.mid")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@pytest.fixture
def account(tmp_path):
    return Account("test", tmp_path)


# Files and tokens.


def test_mutated_files_are_read_or_refused(files, account):
    rng = random.Random(0)
    for _ in range(NUM_FILES):
        targets.read(account, mutate(rng, excerpt(rng, rng.choice(files)), files))
    assert account.failures == {}
    assert account.inputs == NUM_FILES
    assert min(account.accepted, account.refused.total()) > NUM_FILES / 10


TICKS_IN_A_SECOND = bytes([256 - 25, 40])  # 25 frames of 40 ticks are 1000
DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}
SYSTEM_BYTES = {0xF1: 1, 0xF2: 2, 0xF3: 1, 0xF6: 0, 0xF8: 0, 0xFA: 0, 0xFB: 0, 0xFC: 0, 0xFE: 0}


class SlowReader:
    """Reads a track byte by byte, up to where it ends or breaks off.

    Attributes:
      messages: rows of tick, status and two data bytes.
      tempos: rows of tick and tempo.
      end: the tick of the last event.
    """

    def __init__(self, body):
        self.messages, self.tempos, self.end = [], [], 0
        self._bytes, self._running = iter(body), 0
        with contextlib.suppress(EOFError):
            while True:
                self._read_event()

    def _read_event(self):
        self.end += self._number()
        byte = self._byte()
        while byte < 0x80 and not self._running:
            byte = self._byte()
        status, data = (byte, []) if byte >= 0x80 else (self._running, [byte])
        if status >= 0xF0:
            self._read_system_event(status)
            return
        self._running = status
        while len(data) < DATA_BYTES[status & 0xF0]:
            data.append(self._byte())
        if data[0] < 0x80:
            self.messages.append((self.end, status, data[0], min([*data, 0][1], 127)))

    def _read_system_event(self, status):
        kind = self._byte() if status == 0xFF else None
        if status not in (0xF0, 0xF7, 0xFF) and status not in SYSTEM_BYTES:
            raise EOFError
        length = SYSTEM_BYTES[status] if status in SYSTEM_BYTES else self._number()
        payload = bytes([self._byte() for _ in range(length)])
        if kind == 0x2F:
            raise EOFError
        if kind == 0x51 and length == 3 and any(payload):
            self.tempos.append((self.end, int.from_bytes(payload)))

    def _number(self):
        value = 0
        for _ in range(4):
            byte = self._byte()
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise EOFError

    def _byte(self):
        byte = next(self._bytes, None)
        if byte is None:
            raise EOFError
        return byte

    def notes(self):
        """Onset, offset, pitch and velocity of each note, the times in ticks."""
        notes, sounding = [], collections.defaultdict(list)
        for tick, status, pitch, velocity in self.messages:
            kind, channel = status & 0xF0, status & 0x0F
            if kind in (0x80, 0x90) and channel != 9:
                if kind == 0x90 and velocity:
                    sounding[channel, pitch].append((tick, velocity))
                else:
                    struck = sounding.pop((channel, pitch), [])
                    notes += [(onset, tick, pitch, strength) for onset, strength in struck]
        for (_, pitch), struck in sounding.items():
            notes += [(onset, self.end, pitch, velocity) for onset, velocity in struck]
        return sorted(notes)


def test_mutated_tracks_are_read_as_byte_by_byte(files):
    rng = random.Random(1)
    header = bytes.fromhex("4D546864 00000006 0000 0001") + TICKS_IN_A_SECOND + b"MTrk"
    for _ in range(NUM_FILES):
        data = mutate(rng, excerpt(rng, rng.choice(files)), files)
        for body in data.split(b"MTrk")[1:]:
            slow, file = SlowReader(body), header + len(body).to_bytes(4) + body
            track = _smf.parse(file, "x.mid").tracks[0]
            columns = track.ticks.tolist(), track.status.tolist(), *track.data.T.tolist()
            assert list(zip(*columns, strict=True)) == slow.messages
            assert (list(map(tuple, track.tempos.tolist())), track.end) == (slow.tempos, slow.end)
            if slow.notes() and track.end < 3600 * 1000:
                notes = midi.read_bytes(file, "x.mid").notes
                for field in ("onset", "offset"):
                    notes[field] = np.rint(1000 * notes[field])
                assert sorted(notes.tolist()) == slow.notes()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_any_tokens_are_decoded(files, account, vocabulary):
    rng = np.random.default_rng(0)
    played = [vocabulary.encode(midi.read_bytes(data, "x.mid")) for data in files]
    for _ in range(NUM_SEQUENCES // len(VOCABULARIES)):
        targets.decode(account, vocabulary, sequence(rng, vocabulary, played))
    assert account.failures == {}
    assert account.accepted == account.inputs == NUM_SEQUENCES // len(VOCABULARIES)


def test_every_mutation_changes_a_file_and_bears_a_short_one(files):
    rng = random.Random(0)
    for mutation in MUTATIONS:
        for size in (2, 5, 20):
            mutation(rng, bytearray(files[1][:size]), files)
        results = [bytearray(files[1]) for _ in range(10)]
        for data in results:
            mutation(rng, data, files)
        assert any(data != files[1] for data in results), mutation


def forever():
    while True:
        pass


def crash():
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("fault", "function"),
    [
        ("ZeroDivisionError", crash),
        ("TimeoutError: over 0.1 s", forever),
        ("offset before onset", lambda: Performance(np.array([(1, 0, 60, 64)], NOTE_DTYPE))),
        ("velocity not in 1..127", lambda: Performance(np.array([(0, 1, 60, 0)], NOTE_DTYPE))),
        ("no notes", lambda: Performance(np.empty(0, NOTE_DTYPE))),
    ],
)
def test_a_fault_is_found_and_its_input_kept(account, monkeypatch, fault, function):
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.1)
    account.take(b"input", function, soundness.file_faults)
    account.take(b"another", function, soundness.file_faults)
    ((told, count),) = account.failures.items()
    assert fault in told and count == 2 and f"FAILED          2  {told}" in str(account)
    kept = {path.name: path.read_bytes() for path in account.folder.iterdir()}
    assert kept == {"test-001.input": b"input", "test-001.txt": f"{told}\n".encode()}


def test_too_much_memory_is_a_fault(files, account, monkeypatch):
    monkeypatch.setattr(limits, "MAX_MEGABYTES", -1.0)
    targets.read(account, files[0])
    assert account.failures == {"over -1 MB": 1}


def test_lost_and_lengthened_notes_are_found():
    def found(performance, tokens):
        return soundness.decoded_faults(OORE_2018, np.array(tokens), performance)

    one = Performance(np.array([(0, 0.008, 60, 64)], NOTE_DTYPE))
    assert found(one, [60]) == []
    assert found(one, [60, 62]) == ["notes lost or added"]
    long = Performance(np.array([(0, 0.024, 60, 64)], NOTE_DTYPE))
    assert found(long, [60, 256]) == ["longer than its events"]
    between = Performance(np.array([(0.001, 0.008, 60, 64)], NOTE_DTYPE))
    assert found(between, [60]) == ["times between steps", "shorter than a step"]


def test_the_command_tells_of_its_campaigns(experiments, files, tmp_path):
    for index, data in enumerate(files):
        (tmp_path / f"{index}.mid").write_bytes(data)
    command = [sys.executable, experiments / "checks" / "fuzz.py", f"--input={tmp_path}"]
    nums = ["--num_blind=20", "--num_guided=0", "--num_sequences=30"]
    result = subprocess.run(
        [*command, f"--output_dir={tmp_path / 'found'}", *nums], capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "blind: 20 inputs" in result.stdout
    assert "sequences: 30 inputs" in result.stdout
    assert list((tmp_path / "found").iterdir()) == []
