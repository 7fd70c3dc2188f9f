"""The generator: limits, grammar, seeds and primers, with small untrained models."""

import dataclasses
import functools
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from midijax import etudes, generate, grammar, model, primer, sampling
from midijax.config import Config, ModelConfig
from midijax.controls import Controls, Wishes
from midijax.errors import UserError
from midijax.events import NOTE_ON, NOTEBOOK, OORE_2018, PERFORMANCE_RNN, TIME_SHIFT, VELOCITY
from midijax.generate import Length
from midijax.sampling import SamplingSettings

VOCABULARY = PERFORMANCE_RNN
CONFIG = Config(vocabulary=VOCABULARY, model=ModelConfig(num_layers=2, hidden_size=16))
NETWORK = model.from_config(CONFIG)


@functools.cache
def params_of(network):
    return model.init(network, jax.random.key(0))


def play(length, settings=SamplingSettings(), vocabulary=VOCABULARY, seed=1, count=1, **kwargs):
    config = dataclasses.replace(CONFIG, vocabulary=vocabulary)
    params, key = params_of(model.from_config(config)), jax.random.key(seed)
    batch = generate.generate(params, key, config, length, settings, count, **kwargs)
    assert list(batch) == list(range(count))
    return list(batch.values())


def steps_in(vocabulary, tokens):
    return int(vocabulary.values[tokens][vocabulary.kinds[tokens] == TIME_SHIFT].sum())


def note_lengths(vocabulary, tokens, heard=()):
    """The length of each note in steps; fails where the events make no sense."""
    sounding = dict.fromkeys(heard, -1_000_000)
    now, lengths, after_velocity = 0, [], False
    for kind, value in zip(vocabulary.kinds[tokens], vocabulary.values[tokens], strict=True):
        assert kind == NOTE_ON or not after_velocity
        after_velocity = kind == VELOCITY
        if kind == NOTE_ON:
            assert value not in sounding
            sounding[value] = now
        elif kind == TIME_SHIFT:
            now += value
        elif kind != VELOCITY:
            lengths.append(now - sounding.pop(value))
    assert not after_velocity
    return [*lengths, *(now - onset for onset in sounding.values())]


@pytest.mark.parametrize("vocabulary", [OORE_2018, PERFORMANCE_RNN, NOTEBOOK])
def test_every_performance_is_playable_and_exactly_as_long_as_asked(vocabulary):
    settings = SamplingSettings(max_note_seconds=1.5)
    batch = play(Length(seconds=7.3), settings, vocabulary, count=3)
    assert len({tokens.tobytes() for tokens in batch}) == 3
    for tokens in batch:
        assert steps_in(vocabulary, tokens) == round(7.3 * vocabulary.steps_per_second)
        lengths = note_lengths(vocabulary, tokens)
        assert min(lengths) >= 1
        assert max(lengths) == int(1.5 * vocabulary.steps_per_second)


def test_stops_after_the_events_asked_for_and_closes_the_end():
    for num_events in (1, 2, 3, 64, 65, 200):
        for tokens in play(Length(num_events=num_events), count=3):
            assert num_events - 1 <= len(tokens) <= num_events + 1
            assert min(note_lengths(VOCABULARY, tokens), default=1) >= 1


def test_the_first_of_two_limits_counts():
    assert steps_in(VOCABULARY, play(Length(seconds=2, num_events=10_000))[0]) == 200
    assert len(play(Length(seconds=3600, num_events=50))[0]) <= 51


def test_finish_drops_a_velocity_and_gives_late_notes_a_step():
    shift, velocity = VOCABULARY.shift_base, VOCABULARY.velocity_base
    for before, after in [
        ([], []),
        ([velocity], []),
        ([60, velocity], [60, shift]),
        ([60, shift, velocity], [60, shift]),
        ([60, shift, 62], [60, shift, 62, shift]),
        ([60, shift, 188], [60, shift, 188]),
    ]:
        finished = generate._finish(VOCABULARY, np.array(before, np.int32))
        assert finished.tolist() == after


def test_a_seed_gives_the_same_music_whatever_the_batch_and_what_was_compiled():
    first = play(Length(seconds=4), count=1)
    jax.clear_caches()
    again = play(Length(seconds=4), count=3)
    other = play(Length(seconds=4), seed=2, count=3)
    assert again[0].tobytes() == first[0].tobytes()
    assert other[0].tobytes() != first[0].tobytes()


BATCHES = (1, 5, 17)


def play_batches():
    return [play(Length(num_events=80), count=count)[i] for count in BATCHES for i in range(count)]


def test_any_number_of_devices_plays_the_same(tmp_path):
    program = (
        "import sys, jax, numpy as np\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import generate_test\n"
        "assert jax.device_count() == 8\n"
        "np.savez(sys.argv[2], *generate_test.play_batches())"
    )
    subprocess.run(
        [sys.executable, "-c", program, Path(__file__).parent, tmp_path / "played.npz"],
        env=os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8"},
        check=True,
    )
    with np.load(tmp_path / "played.npz") as played:
        theirs = [played[name] for name in played]
    ours = play_batches()
    assert len(ours) == len(theirs) == sum(BATCHES)
    assert [tokens.tobytes() for tokens in ours] == [tokens.tobytes() for tokens in theirs]


@pytest.mark.parametrize("count", [1, 2, 3, 8, 9, 40])
@pytest.mark.parametrize(("processes", "devices"), [(1, 1), (2, 1), (2, 4), (3, 8)])
def test_each_performance_is_one_processs_to_play(monkeypatch, count, processes, devices):
    monkeypatch.setattr("jax.device_count", lambda: processes * devices)
    monkeypatch.setattr("jax.local_device_count", lambda: devices)
    rows = generate._rows(count)
    shares = []
    for process in range(processes):
        monkeypatch.setattr("jax.process_index", lambda process=process: process)
        share = generate._share(count, rows)
        assert len(share) <= rows * devices
        shares += share
    assert shares == list(range(count))
    assert rows >= min(count, 2)


def test_every_event_of_every_performance_has_a_number_of_its_own():
    keys = jax.random.split(jax.random.key(0), 3)
    blocks = np.stack([generate._uniform(keys, block) for block in range(4)])
    assert blocks.min() >= 0 and blocks.max() < 1
    assert len(np.unique(blocks)) > 0.99 * blocks.size
    np.testing.assert_array_equal(generate._uniform(keys[1:2], 3)[:, 0], blocks[3, :, 1])


@pytest.mark.parametrize(
    ("length", "num_blocks"),
    [(Length(num_events=64), 1), (Length(num_events=65), 2), (Length(seconds=0.01), 1)],
)
def test_no_block_is_played_once_all_performances_are_done(monkeypatch, length, num_blocks):
    draw, played = sampling.draw, []

    def counted_draw(*args):
        jax.debug.callback(lambda: played.append(1))
        return draw(*args)

    monkeypatch.setattr(sampling, "draw", counted_draw)
    jax.clear_caches()
    play(length, SamplingSettings(temperature=100), count=2)
    jax.effects_barrier()
    jax.clear_caches()
    assert len(played) == num_blocks * generate.BLOCK_EVENTS


def test_changed_numbers_do_not_compile_again():
    play(Length(seconds=3), SamplingSettings(top_p=0.9))
    compiled = generate._generate._cache_size()
    play(Length(num_events=99), SamplingSettings(0, 3, 1, 0, 4), seed=9)
    assert generate._generate._cache_size() == compiled


def test_greedy_music_is_the_likeliest_legal_event_each_time():
    tokens = play(Length(num_events=30), SamplingSettings(temperature=0))[0][:30]
    inputs = np.append(NETWORK.start, tokens[:-1])[None]
    logits_BxTxV, _ = NETWORK.apply(
        {"params": params_of(NETWORK)}, jnp.array(inputs), NETWORK.initial_carry(1)
    )
    state, limits = grammar.initial_state(1), grammar.Limits(1000, 10**9)
    for token, logits_V in zip(tokens, np.asarray(logits_BxTxV[0]), strict=True):
        legal_V = grammar.legal_events(VOCABULARY, state, limits)[0]
        likeliest = np.where(legal_V, logits_V, -np.inf).argmax()
        assert token == grammar.shorten(VOCABULARY, state, limits, likeliest[None])
        state = grammar.advance(VOCABULARY, state, token[None])


def test_a_primer_is_heard_as_in_training():
    tokens = play(Length(num_events=60), seed=3)[0]
    weights = NETWORK.step_weights(params_of(NETWORK), 1)
    heard = generate._pad_primer(tokens, NETWORK.start)
    state = generate._listen(NETWORK, VOCABULARY, weights, heard, 2, num_minds=2)
    inputs = np.append(NETWORK.start, tokens[:-1])[None]
    _, expected = NETWORK.apply(
        {"params": params_of(NETWORK)}, jnp.array(inputs), NETWORK.initial_carry(1)
    )
    for got_LxBxH, wanted_Lx1xH in zip(state.carry, expected, strict=True):
        np.testing.assert_allclose(
            got_LxBxH, np.broadcast_to(wanted_Lx1xH, got_LxBxH.shape), rtol=1e-4, atol=1e-6
        )
    assert state.token_B.tolist() == [tokens[-1]] * 2
    assert state.grammar.elapsed_B.tolist() == [0, 0]


def test_a_performance_primed_with_its_own_beginning_goes_on_as_it_did():
    greedy = SamplingSettings(temperature=0)
    whole = play(Length(num_events=120), greedy)[0]
    rest = play(Length(num_events=80), greedy, primer=whole[:40])[0]
    np.testing.assert_array_equal(rest, whole[40:])


def test_what_sounds_at_the_primers_end_sounds_on_and_only_new_seconds_count():
    heard = primer.encode(VOCABULARY, etudes.compose(0), 3.0)
    cut_short = primer.join(VOCABULARY, heard, np.empty(0, np.int32), True)
    held = cut_short.notes["pitch"][cut_short.notes["offset"] == cut_short.duration]
    assert len(held)
    for tokens in play(Length(seconds=12), count=3, primer=heard):
        assert steps_in(VOCABULARY, tokens) == 1200
        note_lengths(VOCABULARY, tokens, heard=held)
        assert max(note_lengths(VOCABULARY, np.append(heard, tokens))) <= 1000


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match="num_performances=0"):
        play(Length(seconds=1), count=0)
    with pytest.raises(UserError, match="memory"):
        play(Length(seconds=3600), count=10_000)
    with pytest.raises(UserError, match="how long"):
        Length()
    for wrong in ({"seconds": 0}, {"seconds": float("nan")}, {"num_events": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            Length(**wrong)


@pytest.fixture(scope="module")
def told():
    """A config with controls, and parameters that make much of them."""
    config = dataclasses.replace(CONFIG, controls=Controls(enabled=True, composers=("Bach",)))
    params = params_of(model.from_config(config))
    shape = params["first_layer"]["controls"].shape
    first = {**params["first_layer"], "controls": 3 * jax.random.normal(jax.random.key(5), shape)}
    return config, {**params, "first_layer": first}


def play_told(told, wishes, seconds=8.0, **kwargs):
    config, params = told
    length, settings = Length(seconds=seconds), SamplingSettings()
    key = jax.random.key(1)
    return generate.generate(params, key, config, length, settings, 2, wishes=wishes, **kwargs)[1]


def test_wishes_change_the_music_and_asking_nothing_does_not(told):
    plain = play_told(told, Wishes())
    assert play_told(told, Wishes(guidance=3.0)).tolist() == plain.tolist()
    for wish in (
        {"notes_per_second": (4.0,)},
        {"loudness": (40.0,)},
        {"composer": ("Bach",)},
        {"pitch_classes": ((1.0,) + 11 * (0.0,),)},
    ):
        assert play_told(told, Wishes(**wish)).tolist() != plain.tolist()


def test_a_wish_is_heard_from_the_step_where_its_part_begins(told):
    changing = play_told(told, Wishes(loudness=(40.0, 90.0)))
    first, second = (play_told(told, Wishes(loudness=(value,))) for value in (40.0, 90.0))
    steps = VOCABULARY.steps(changing)
    before = int(np.searchsorted(steps, 400))
    np.testing.assert_array_equal(changing[:before], first[:before])
    rest = min(len(first), len(changing))
    assert changing[:rest].tolist() != first[:rest].tolist()
    assert changing[:before].tolist() != second[:before].tolist()


def test_without_guidance_wishes_are_not_followed_and_with_one_as_learned(told):
    wishes = {"notes_per_second": (4.0,), "composer": ("Bach",)}
    assert (
        play_told(told, Wishes(**wishes, guidance=0.0)).tolist()
        == play_told(told, Wishes()).tolist()
    )
    nearly = play_told(told, Wishes(**wishes, guidance=1 + 1e-7))
    assert nearly[:100].tolist() == play_told(told, Wishes(**wishes))[:100].tolist()
    assert play_told(told, Wishes(**wishes, guidance=3.0)).tolist() != nearly.tolist()


def test_changing_wishes_do_not_compile_again(told):
    play_told(told, Wishes(loudness=(40.0,)))
    compiled = generate._generate._cache_size()
    play_told(told, Wishes(loudness=(50.0, 60.0, 70.0), composer=("Bach",)))
    assert generate._generate._cache_size() == compiled


def test_wishes_that_cannot_be_are_refused(told):
    with pytest.raises(UserError, match="give --seconds"):
        generate.generate(
            told[1],
            jax.random.key(1),
            told[0],
            Length(num_events=50),
            wishes=Wishes(loudness=(40.0, 90.0)),
        )
    with pytest.raises(UserError, match="without controls"):
        play(Length(seconds=1), wishes=Wishes(loudness=(40.0,)))
