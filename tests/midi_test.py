import json
import pickle
import subprocess
import sys

import mido
import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st
from mido.midifiles.meta import encode_variable_int

from midijax import midi
from midijax.errors import UserError
from midijax.midi import MidiError
from midijax.performance import NOTE_DTYPE, PEDAL_DTYPE, Performance

END = bytes.fromhex("00 FF 2F 00")


def event(delta, *data):
    return bytes(encode_variable_int(delta)) + bytes(data)


def on(delta, pitch, velocity=64, channel=0):
    return event(delta, 0x90 | channel, pitch, velocity)


def off(delta, pitch, channel=0):
    return event(delta, 0x80 | channel, pitch, 0)


def pedal(delta, value, channel=0):
    return event(delta, 0xB0 | channel, 64, value)


def tempo(delta, microseconds):
    return meta(delta, 0x51, microseconds.to_bytes(3))


def meta(delta, kind, payload):
    return event(delta, 0xFF, kind, *encode_variable_int(len(payload)), *payload)


def chunk(kind, body, length=None):
    return kind + (len(body) if length is None else length).to_bytes(4) + body


def track(*events, end=END, length=None):
    return chunk(b"MTrk", b"".join(events) + end, length)


def smf(*tracks, midi_format=1, division=480, num_tracks=None):
    fields = (midi_format, len(tracks) if num_tracks is None else num_tracks, division)
    return chunk(b"MThd", b"".join(field.to_bytes(2) for field in fields)) + b"".join(tracks)


NOTE = on(0, 60) + off(480, 60)  # half a second, at 480 ticks per beat and 120 bpm
HALF_SECOND = [(0.0, 0.5, 60, 64)]
GOOD = smf(
    track(meta(0, 0x03, b"Piano"), tempo(0, 400_000), meta(0, 0x59, b"\x00\x00")),
    track(pedal(0, 127), on(0, 60), on(240, 64, 80), off(240, 60), off(0, 64), pedal(9, 0), NOTE),
)


def read(data):
    return midi.read_bytes(data, "x.mid")


def notes(data):
    return read(data).notes.tolist()


def facts(data, folder):
    return midi.inspect_bytes(data, str(folder / "x.mid"))


# Time.


def test_default_tempo():
    assert notes(smf(track(NOTE))) == HALF_SECOND


def test_tempo_map_of_another_track():
    tempos = track(tempo(0, 1_000_000), tempo(480, 250_000), tempo(480, 250_000))
    played = track(on(240, 60), off(480, 60), on(960, 62), off(480, 62))
    assert notes(smf(tempos, played)) == [(0.5, 1.125, 60, 64), (1.625, 1.875, 62, 64)]


def test_last_of_several_tempos_at_one_tick_counts():
    events = tempo(0, 1_000_000), tempo(0, 500_000), NOTE, tempo(0, 1), tempo(0, 1_000_000), NOTE
    assert notes(smf(track(*events))) == [*HALF_SECOND, (0.5, 1.5, 60, 64)]


def test_seconds_are_those_of_pretty_midi():
    """To the last bit: times that fall on half a step must round alike."""
    resolution, tempos, into_segment, length = 384, [480_003, 480_008, 480_011], 777, 1000
    events, expected, start = [], [], 0.0
    for microseconds in tempos:
        scale = 60.0 / ((6e7 / microseconds) * resolution)
        expected.append(start + scale * into_segment)
        start += scale * length
        strike = on(into_segment, 60) + off(0, 60)
        events += [tempo(0, microseconds), strike, pedal(length - into_segment, 0)]
    assert read(smf(track(*events), division=resolution)).notes["onset"].tolist() == expected


@pytest.mark.parametrize(
    ("frames", "rate"), [(24, 24.0), (25, 25.0), (29, 30000 / 1001), (30, 30.0)]
)
def test_smpte_division_counts_frames_whatever_the_tempo(frames, rate):
    division = (256 - frames) << 8 | 40
    data = smf(track(tempo(0, 123_456), on(0, 60), off(40, 60)), division=division)
    assert notes(data) == [(0.0, pytest.approx(1 / rate, rel=1e-12), 60, 64)]


def test_tracks_of_format_2_follow_one_another_each_at_its_tempo():
    slow, plain = track(tempo(0, 1_000_000), NOTE), track(on(480, 62), off(480, 62))
    assert notes(smf(slow, plain, midi_format=2)) == [(0.0, 1.0, 60, 64), (1.5, 2.0, 62, 64)]


def test_deltas_may_be_huge():
    data = smf(track(on(2**28 - 1, 60), off(2**28 - 1, 60)), division=0x7FFF)
    assert notes(data)[0][0] == pytest.approx((2**28 - 1) / 0x7FFF / 2)


# Notes and pedal.


def test_tracks_and_channels_sound_together_without_percussion():
    data = smf(track(NOTE), track(on(0, 64, channel=3), on(0, 35, channel=9), off(480, 64, 3)))
    assert notes(data) == [(0.0, 0.5, 60, 64), (0.0, 0.5, 64, 64)]


def test_note_on_without_velocity_and_running_status():
    data = smf(track(on(0, 60), event(480, 60, 0), event(0, 62, 50), event(480, 62, 0)))
    assert notes(data) == [*HALF_SECOND, (0.5, 1.0, 62, 50)]


def test_running_status_outlasts_meta_and_sysex():
    sysex = event(0, 0xF0, 3, 1, 2, 0xF7)
    data = smf(track(on(0, 60), meta(0, 0x01, b"hm"), sysex, event(480, 60, 0)))
    assert notes(data) == HALF_SECOND


def test_running_status_is_that_of_the_last_message_whatever_its_kind_and_channel():
    running = event(0, 0xC2, 9), event(0, 5), on(0, 60, channel=3), event(480, 60, 0)
    release = event(0, 0x83, 62, 0), event(0, 64, 0)
    data = smf(track(*running, on(0, 62, channel=3), event(0, 64, 70), meta(480, 1, b""), *release))
    assert notes(data) == [*HALF_SECOND, (0.5, 1.0, 62, 64), (0.5, 1.0, 64, 70)]


def test_release_ends_all_notes_of_its_key_and_channel_only():
    data = smf(track(on(0, 60), on(240, 60), on(0, 60, channel=1), off(240, 60), off(480, 60, 1)))
    assert notes(data) == [(0.0, 0.5, 60, 64), (0.25, 0.5, 60, 64), (0.25, 1.0, 60, 64)]


def test_zero_length_note_is_kept():
    assert notes(smf(track(on(480, 60), off(0, 60), NOTE))) == [
        (0.5, 0.5, 60, 64),
        (0.5, 1.0, 60, 64),
    ]


def test_release_before_strike_in_one_tick_is_a_repeated_note():
    data = smf(track(on(0, 60), off(480, 60), on(0, 60), off(480, 60)))
    assert notes(data) == [*HALF_SECOND, (0.5, 1.0, 60, 64)]


def test_note_never_released_ends_with_its_track():
    data = smf(track(on(0, 60), end=bytes.fromhex("87 40 FF 2F 00")), track(on(0, 1), off(9, 1)))
    assert notes(data)[1] == (0.0, 1.0, 60, 64)


def test_release_without_a_note_is_passed_over():
    assert notes(smf(track(off(0, 60), NOTE, off(480, 60)))) == HALF_SECOND


def test_lowest_and_highest_pitch():
    data = smf(track(on(0, 0, 1), on(0, 127, 127), off(480, 0), off(0, 127)))
    assert notes(data) == [(0.0, 0.5, 0, 1), (0.0, 0.5, 127, 127)]


def test_pedal_of_all_channels_but_percussion():
    data = smf(track(NOTE, pedal(480, 100, 2)), track(pedal(480, 30), pedal(0, 99, channel=9)))
    assert read(data).pedal.tolist() == [(0.5, 30), (1.0, 100)]


# Broken files: what can be kept is kept, and the repair is named.

BROKEN = {
    "no end of track": (smf(track(NOTE, end=b"")), "no end of track"),
    "truncated last track": (smf(track(NOTE, on(0, 70))[:-6], num_tracks=1), "truncated track"),
    "stray data bytes": (smf(track(event(0, 5, 6), NOTE[1:], off(0, 7))), "stray data bytes"),
    "velocity over 127": (smf(track(on(0, 60, 200), off(480, 60))), "data bytes over 127"),
    "pitch over 127": (smf(track(on(0, 200), NOTE)), "data bytes over 127"),
    "undefined status": (smf(track(NOTE, event(0, 0xF5), on(0, 62))), "undefined status byte"),
    "number too long": (smf(track(NOTE, b"\xff" * 5, NOTE)), "a number longer than four bytes"),
    "sysex beyond the end": (smf(track(NOTE, event(0, 0xF0, 0x7F, 1))), "truncated track"),
    "cut within song position": (
        smf(track(NOTE, event(480, 0xF2, 1), end=b""), num_tracks=1),
        "truncated track",
    ),
    "empty tempo": (smf(track(meta(0, 0x51, b""), NOTE)), "unusable tempo"),
    "tempo 0": (smf(track(tempo(0, 0), NOTE)), "unusable tempo"),
    "track length 0": (smf(track(NOTE, length=0)), None),
    "track length too short": (smf(track(NOTE, length=3)), None),
    "track length too long": (smf(track(NOTE, length=2**32 - 1), track()), None),
    "header length wild": (GOOD[:4] + b"\xff" * 4 + smf(track(NOTE))[8:], None),
    "too many tracks told": (smf(track(NOTE), num_tracks=9), "wrong number of tracks"),
    "too few tracks told": (smf(track(), track(NOTE), num_tracks=0), "wrong number of tracks"),
    "format 7": (smf(track(NOTE), midi_format=7), "unknown format 7"),
    "unknown chunk": (smf(chunk(b"XFIH", b"abc"), track(NOTE), num_tracks=1), "unknown chunk"),
    "RIFF": (b"RIFF....RMIDdata...." + smf(track(NOTE)) + b"\0", "bytes before the header"),
    "bytes after the end": (smf(track(NOTE), num_tracks=1) + b"junk!", None),
    "events after end of track": (smf(track(NOTE, END, on(0, 62))), None),
    "bad key signature": (smf(track(meta(0, 0x59, b"\x63"), NOTE)), None),
    "text in any encoding": (smf(track(meta(0, 0x05, b"\xff\xfe\x80\x00"), NOTE)), None),
    "empty metas": (smf(track(*(meta(0, kind, b"") for kind in range(0x2F)), NOTE)), None),
    "what is not needed": (
        smf(
            track(
                event(0, 0xA0, 60, 5), event(0, 0xC0, 9), event(0, 0xE0, 1, 2), event(0, 0xF8), NOTE
            )
        ),
        None,
    ),
    "unterminated sysex": (smf(track(event(0, 0xF0, 2, 1, 2), event(0, 0xF7, 1, 3), NOTE)), None),
}


@pytest.mark.parametrize(("data", "repair"), BROKEN.values(), ids=BROKEN.keys())
def test_broken_file_keeps_its_notes_and_names_its_repair(data, repair, tmp_path):
    kept = [(onset, offset, pitch) for onset, offset, pitch, _ in notes(data)]
    assert (0.0, 0.5, 60) in kept
    assert all(pitch in (60, 62) for *_, pitch in kept)
    if repair:
        assert repair in " / ".join(facts(data, tmp_path).repairs)


def test_velocity_over_127_is_clipped():
    assert notes(BROKEN["velocity over 127"][0])[0][3] == 127


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_file_cut_anywhere_is_read_up_to_the_cut_or_refused(length):
    try:
        kept = read(GOOD[:length]).notes
    except MidiError:
        assert length < GOOD.index(on(0, 60)) + 4
    else:
        whole = read(GOOD).notes
        struck = ["onset", "pitch", "velocity"]
        assert kept[struck].tolist() == whole[struck][: len(kept)].tolist()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_garbled_file_is_read_or_refused(data):
    garbled = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(GOOD) - 1))
        width = data.draw(st.integers(0, 4))
        garbled[position : position + width] = data.draw(st.binary(max_size=4))
    try:
        performance = read(bytes(garbled))
    except MidiError as error:
        assert str(error).startswith("x.mid: ") and "\n" not in str(error)
    else:
        assert (performance.notes["offset"] >= performance.notes["onset"]).all()
        assert performance.notes["velocity"].min() >= 1
        assert max(performance.notes["pitch"].max(), performance.notes["velocity"].max()) <= 127


# Hopeless files.

REFUSED = {
    "empty": (b"", "empty"),
    "text": (b"Dear diary, today I played the piano.\n" * 50, "not a MIDI file"),
    "header cut": (GOOD[:11], "within its header"),
    "header alone": (GOOD[:14], "no notes"),
    "no notes": (smf(track(pedal(0, 127), meta(0, 1, b"tacet"))), "no notes"),
    "percussion only": (smf(track(on(0, 35, channel=9), off(9, 35, 9))), "percussion"),
    "no resolution": (smf(track(NOTE), division=0), "0 ticks per quarter note"),
    "unknown frame rate": (smf(track(NOTE), division=(256 - 60) << 8 | 40), "SMPTE division 60"),
    "no ticks in a frame": (smf(track(NOTE), division=(256 - 25) << 8), "SMPTE division 25 x 0"),
    "lasts for ages": (smf(track(on(0, 60), off(2**28 - 1, 60)), division=1), "too long"),
    "million notes": (smf(track(NOTE * 1_000_000)), "1000000 messages"),
    "over the notes": (smf(track(NOTE * (midi.MAX_NOTES + 1))), "too many notes"),
    "many tracks": (smf(*[track(NOTE)] * 2000), "1024 tracks"),
    "many empty tracks": (smf(*[chunk(b"MTrk", b"")] * 500_000, num_tracks=9), "1024 tracks"),
    "many tempos": (smf(track(*[tempo(1, n) for n in (1, 2)] * 600_000)), "messages"),
    "many clocks": (smf(track(event(0, 0xF8) * 5_000_000, NOTE)), "messages"),
    "many bad tempos": (smf(track(meta(0, 0x51, b"") * 3_000_000, NOTE)), "messages"),
    "many unknown chunks": (smf(*[chunk(b"XXXX", b"")] * 1_900_000, num_tracks=9), "no notes"),
    "huge": (GOOD + bytes(17 * 2**20), "16 MiB"),
    "huge number of stray bytes": (smf(track(event(0, *[5] * 15_000_000))), "no notes"),
}
HOSTILE = {name: data for name, (data, _) in {**BROKEN, **REFUSED}.items()}
HOSTILE["dense"] = smf(track(tempo(0, 50_000), NOTE * midi.MAX_NOTES))


@pytest.mark.parametrize(("data", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_hopeless_file_is_refused_in_one_sentence(data, reason, tmp_path):
    path = tmp_path / "x.mid"
    path.write_bytes(data)
    with pytest.raises(MidiError, match=reason) as refusal:
        midi.read(path)
    assert str(refusal.value) == f"{path}: {refusal.value.reason}" and "\n" not in str(
        refusal.value
    )
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)


def test_folder_and_missing_file_are_refused(tmp_path):
    (tmp_path / "x.mid").mkdir()
    with pytest.raises(MidiError, match=r"x\.mid: this is a folder"):
        midi.read(tmp_path / "x.mid")
    with pytest.raises(MidiError, match=r"y\.mid: cannot be read .No such file"):
        midi.read(tmp_path / "y.mid")
    with pytest.raises(MidiError, match="/dev/null: this is no regular file"):
        midi.read("/dev/null")


MEASURE = """
import json, pathlib, re, sys, time
from midijax import midi
spent = {}
for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    start = time.process_time()
    try:
        midi.read(path)
    except midi.MidiError:
        pass
    spent[path.name] = time.process_time() - start
peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
print(json.dumps([spent, 1024 * int(peak[1])]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc")
def test_no_hostile_file_eats_the_memory_or_the_night(tmp_path):
    for name, data in HOSTILE.items():
        (tmp_path / f"{name}.mid").write_bytes(data)
    (tmp_path / "folder.mid").mkdir()
    command = [sys.executable, "-c", MEASURE, tmp_path]
    measured = subprocess.run(command, capture_output=True, check=True, text=True, timeout=300)
    spent, peak = json.loads(measured.stdout)
    assert len(spent) > 40
    assert {name: seconds for name, seconds in spent.items() if seconds > 5} == {}
    assert peak < 500e6


# Writing.


def performance(note_rows, pedal_rows=()):
    return Performance(
        np.array(list(note_rows), NOTE_DTYPE), np.array(list(pedal_rows), PEDAL_DTYPE)
    )


@st.composite
def played(draw):
    """A performance in which no key is struck while it is down."""
    rows = []
    for pitch in draw(st.lists(st.integers(0, 127), unique=True, min_size=1, max_size=6)):
        times = draw(st.lists(st.integers(0, 10**8), unique=True, min_size=2, max_size=8))
        times = np.sort(np.array(times[: len(times) // 2 * 2])) * 1e-4
        for onset, offset in times.reshape(-1, 2).tolist():
            if not rows or rows[-1][2] != pitch or onset >= rows[-1][1] + 0.002:
                rows.append((onset, max(offset, onset + 0.002), pitch, draw(st.integers(1, 127))))
    pedal_rows = draw(st.lists(st.tuples(st.floats(0, 1e4), st.integers(0, 127)), max_size=8))
    return performance(rows, pedal_rows)


@given(played())
@settings(deadline=None)
def test_written_file_reads_back_within_half_a_tick(tmp_path_factory, original):
    path = tmp_path_factory.getbasetemp() / "round_trip.mid"
    midi.write(original, path)
    back = midi.read(path)
    half_tick = 0.0005 + 1e-9

    def by_key(notes):
        return np.sort(notes, order=["pitch", "onset"])

    ours, theirs = by_key(original.notes), by_key(back.notes)
    assert ours[["pitch", "velocity"]].tolist() == theirs[["pitch", "velocity"]].tolist()
    for field in ("onset", "offset"):
        np.testing.assert_allclose(theirs[field], ours[field], rtol=0, atol=half_tick)
    assert back.pedal["value"].tolist() == original.pedal["value"].tolist()
    np.testing.assert_allclose(back.pedal["time"], original.pedal["time"], rtol=0, atol=half_tick)


@pytest.mark.parametrize("step", [0.008, 0.01])
def test_steps_of_8_and_10_ms_are_written_exactly(step, tmp_path):
    onsets = np.arange(1000) * step
    midi.write(performance([(t, t + step, 60, 64) for t in onsets.tolist()]), tmp_path / "x.mid")
    ticks = np.rint(midi.read(tmp_path / "x.mid").notes["onset"] * 1000)
    assert ticks.tolist() == np.rint(onsets * 1000).tolist()
    np.testing.assert_allclose(ticks / 1000, onsets, rtol=0, atol=1e-9)


def test_written_file_is_what_any_software_opens(tmp_path):
    path = tmp_path / "x.mid"
    original = performance([(0, 0.5, 60, 70), (0.5, 1, 60, 71)], [(0.1, 127), (0.9, 0)])
    midi.write(original, path)
    score = symusic.Score(str(path), ttype="second")
    (piano,) = score.tracks
    assert (piano.program, piano.is_drum, piano.name) == (0, False, "Piano")
    kept = [(n.time, n.time + n.duration, n.pitch, n.velocity) for n in piano.notes]
    np.testing.assert_allclose(kept, original.notes.tolist(), atol=1e-6)
    assert [(p.time, p.duration) for p in piano.pedals] == [
        (pytest.approx(0.1), pytest.approx(0.8))
    ]
    strict = mido.MidiFile(path)
    assert (strict.type, len(strict.tracks), strict.tracks[0][-1].type) == (0, 1, "end_of_track")


def test_release_is_written_before_the_next_strike_of_the_key(tmp_path):
    path = tmp_path / "x.mid"
    midi.write(performance([(0, 0.5, 60, 1), (0.5, 0.5, 60, 2), (0.501, 1, 60, 3)]), path)
    messages = [(m.type, m.time) for m in mido.MidiFile(path).tracks[0] if "note_" in m.type]
    assert messages == [
        ("note_on", 0),
        ("note_off", 500),
        ("note_on", 0),
        ("note_off", 1),
        ("note_on", 0),
        ("note_off", 499),
    ]


def test_same_performance_same_bytes(tmp_path):
    original = read(GOOD)
    for name in ("a.mid", "b.mid"):
        midi.write(original, tmp_path / name)
    assert (tmp_path / "a.mid").read_bytes() == (tmp_path / "b.mid").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mid", "b.mid"]


def test_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    (tmp_path / "folder.mid").mkdir()
    with pytest.raises(UserError, match=r"folder\.mid' cannot be written"):
        midi.write(read(GOOD), tmp_path / "folder.mid")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.mid"]


# Facts.


def test_facts(tmp_path):
    seen = facts(GOOD, tmp_path)
    assert (seen.format, seen.num_tracks) == (1, 2)
    assert (seen.ticks_per_beat, seen.ticks_per_second) == (480, None)
    assert seen.message_counts == {
        "note_on": 3,
        "note_off": 3,
        "control_change": 2,
        "end_of_track": 2,
        "track_name": 1,
        "set_tempo": 1,
        "key_signature": 1,
    }
    assert seen.repairs == ()


def test_facts_of_a_file_without_notes_and_with_smpte_time(tmp_path):
    seen = facts(smf(track(event(0, 0xF0, 1, 0xF7)), division=(256 - 25) << 8 | 40), tmp_path)
    assert (seen.ticks_per_beat, seen.ticks_per_second) == (None, 1000.0)
    assert seen.message_counts == {"sysex": 1, "end_of_track": 1}
