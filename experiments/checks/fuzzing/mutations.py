"""Ways to break a MIDI file."""

import random
import re

MAX_MUTATIONS = 8
EXCERPT_BYTES = (200, 1000, 4000)


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
