"""New performances from a trained model, in one compiled loop that stays on the device.

B batch (of one device, unless said otherwise), T events, V vocabulary, K parts of a schedule, C
features of controls, G gates.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from midijax import controls, grammar, sampling
from midijax.config import Config
from midijax.controls import Wishes
from midijax.errors import UserError
from midijax.events import NOTE_ON, PAD, TIME_SHIFT, VELOCITY, EventVocabulary
from midijax.model import PerformanceRNN, StepWeights, from_config
from midijax.sampling import SamplingSettings

BLOCK_EVENTS = 64  # sampled between two looks at whether every performance is done
MAX_EVENTS_PER_SECOND = 400  # far denser than piano music; what --seconds reserves memory for
MAX_BATCH_EVENTS = 2**28  # one GiB of tokens
MIN_BLOCKS, MIN_PRIMER_SLOTS = 256, 512  # so that short lengths share one compiled program
MIN_PARTS = 16  # of schedules, likewise
UNLIMITED_STEPS = 2**30


@dataclasses.dataclass(frozen=True)
class Length:
    """How much new music each performance gets, whichever comes first; a primer does not count.

    Attributes:
      seconds: until this much time has passed, to the step.
      num_events: until this many events have been drawn.

    Raises:
      UserError: a value out of its range, or none given.
    """

    seconds: float = math.inf
    num_events: int = MAX_BATCH_EVENTS

    def __post_init__(self) -> None:
        if math.isinf(self.seconds) and self.num_events == MAX_BATCH_EVENTS:
            raise UserError("how long? give seconds or num_events")
        if not self.seconds > 0:
            raise UserError(f"seconds={self.seconds} must be above 0")
        if not 1 <= self.num_events <= MAX_BATCH_EVENTS:
            raise UserError(f"num_events={self.num_events} must be from 1 to {MAX_BATCH_EVENTS}")

    @property
    def max_events(self) -> int:
        """The most events a performance can have."""
        return math.ceil(min(self.num_events, self.seconds * MAX_EVENTS_PER_SECOND))

    def max_steps(self, vocabulary: EventVocabulary) -> int:
        """The most time-steps a performance can have."""
        steps = min(self.seconds * vocabulary.steps_per_second, UNLIMITED_STEPS)
        return max(1, round(steps))


def require_seconds(wishes: Wishes, length: Length) -> None:
    """Raises UserError for wishes that change on the way of music whose way is not known."""
    if wishes.is_schedule and math.isinf(length.seconds):
        raise UserError(
            "what is asked changes on the way: give --seconds, of which each has a part"
        )


def generate(
    params: Any,
    key: jax.Array,
    config: Config,
    length: Length = Length(seconds=30.0),
    settings: SamplingSettings = SamplingSettings(),
    num_performances: int = 1,
    primer: np.ndarray | None = None,
    wishes: Wishes = Wishes(),
) -> dict[int, np.ndarray]:
    """Lets the model play, on all devices of all processes.

    Performance i draws from `fold_in(key, i)`, whatever the number of performances. Several are
    the same events on any number of devices of a kind, for each device has two or more; a single
    one may differ from the first of several, since a CPU adds up a single row in another order.
    Nothing recompiles when only key, params, settings, the primer's events or the values of wishes
    change, nor for lengths of up to the same power of two of events.

    Args:
      params: the model's parameters.
      key: a JAX random key.
      config: the run they come from, for its model and its vocabulary.
      length: when a performance is done.
      settings: how events are chosen.
      num_performances: how many to play, divided among the devices.
      primer: events to go on from, (events,), as from `midijax.primer.encode`; what sounds at
        their end sounds on.
      wishes: what is asked of the new music; with a `guidance` other than 1 the model is asked
        twice at each event, with them and without.

    Returns:
      The new events of each performance that is this process's to play, by its number, without the
      primer's: int32 (events,). They lead to no orphaned note-off, no overlap, no dangling
      velocity, and no note without length.

    Raises:
      UserError: a performance count that is not positive or asks for too much memory; wishes that
        the model does not know, or that change in a length without seconds.
    """
    vocabulary = config.vocabulary
    rows = _rows(num_performances)
    num_blocks = _num_blocks(length.max_events, rows)
    numbers = _share(num_performances, rows)
    if not numbers:
        return {}
    num_devices = -(-len(numbers) // rows)
    mesh = _mesh(num_devices)
    padding = num_devices * rows - len(numbers)
    max_note_steps = max(1, int(settings.max_note_seconds * vocabulary.steps_per_second))
    tokens_BxT = _generate(
        from_config(config),
        vocabulary,
        num_blocks,
        mesh,
        _replicate(params, mesh),
        key,
        np.pad(numbers, (0, padding), mode="edge"),
        _pad_primer(np.empty(0, np.int32) if primer is None else primer, vocabulary.size),
        length.max_events,
        grammar.Limits(max_note_steps, length.max_steps(vocabulary)),
        float(settings.temperature),
        settings.filters,
        _script(config, length, wishes),
    )
    return {
        number: _finish(vocabulary, row_T[row_T != PAD])
        for number, row_T in zip(numbers, np.asarray(tokens_BxT), strict=False)
    }


def _rows(num_performances: int) -> int:
    """The performances of a device: as few as there can be, but two of several."""
    if num_performances < 1:
        raise UserError(f"num_performances={num_performances} must be at least 1")
    return max(min(num_performances, 2), -(-num_performances // jax.device_count()))


def _share(num_performances: int, rows: int) -> range:
    """Which of them this process plays."""
    share = rows * jax.local_device_count()
    first = min(num_performances, share * jax.process_index())
    return range(first, min(num_performances, first + share))


def _mesh(num_devices: int) -> Mesh:
    return jax.make_mesh(
        (num_devices,),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=jax.local_devices()[:num_devices],
    )


def _replicate(params: Any, mesh: Mesh) -> Any:
    """Parameters from wherever they are, one device or all of a job's, to those of `mesh`."""
    here = jax.tree.map(lambda leaf: jnp.asarray(leaf).addressable_data(0), params)
    return jax.device_put(here, NamedSharding(mesh, PartitionSpec()))


class _Primer(NamedTuple):
    """START and the primer's events, int32 (1 + slots,), and how many events there are."""

    tokens_T: np.ndarray
    num_events: int


class _Script(NamedTuple):
    """What is asked of the music, and when.

    Attributes:
      begins_K: the step in which each part begins, int32, ascending from 0.
      features_KxC: what the model is told in it.
      guidance: None where it is 1: then nothing needs to be known of the music without wishes.
    """

    begins_K: np.ndarray
    features_KxC: np.ndarray
    guidance: float | None


def _script(config: Config, length: Length, wishes: Wishes) -> _Script | None:
    """Wishes in the model's terms; None if there are none."""
    if not wishes.asked:
        return None
    require_seconds(wishes, length)
    shares_K, features_KxC = controls.schedule(config.controls, wishes)
    begins_K = np.ceil(shares_K * length.max_steps(config.vocabulary) - controls.ROUNDING)
    missing = max(MIN_PARTS, _power_of_two(len(begins_K))) - len(begins_K)
    return _Script(
        np.pad(begins_K.astype(np.int32), (0, missing), constant_values=UNLIMITED_STEPS),
        np.pad(features_KxC, ((0, missing), (0, 0))),
        None if wishes.guidance == 1 else float(wishes.guidance),
    )


class _State(NamedTuple):
    """Where the batch stands between two events."""

    token_B: jax.Array  # the latest event
    carry: Any  # what the model remembers of the events before it
    grammar: grammar.GrammarState
    count_B: jax.Array  # new events so far


_Loop = tuple[_State, jax.Array, jax.Array]  # also the tokens so far, BxT, and the block's number


@functools.partial(jax.jit, static_argnames=("model", "vocabulary", "num_blocks", "mesh"))
def _generate(
    model: PerformanceRNN,
    vocabulary: EventVocabulary,
    num_blocks: int,
    mesh: Mesh,
    params: Any,
    key: jax.Array,
    numbers_B: jax.Array,
    *rest: Any,
) -> jax.Array:
    """`_play` on each device of the mesh: B the rows of all, whose performances have numbers."""
    play = functools.partial(_play, model, vocabulary, num_blocks)
    same, divided = PartitionSpec(), PartitionSpec("data")
    in_specs = (same, same, divided, *(same for _ in rest))
    on_devices = jax.shard_map(
        play, mesh=mesh, in_specs=in_specs, out_specs=divided, check_vma=False
    )
    return on_devices(params, key, numbers_B, *rest)


def _play(
    model: PerformanceRNN,
    vocabulary: EventVocabulary,
    num_blocks: int,
    params: Any,
    key: jax.Array,
    numbers_B: jax.Array,
    primer: _Primer,
    max_events: jax.Array,
    limits: grammar.Limits,
    temperature: jax.Array,
    filters: sampling.Filters | None,
    script: _Script | None,
) -> jax.Array:
    """A device's batch from primer to last event, int32 (B, T), each row padded with PAD."""

    def is_done(state: _State) -> jax.Array:
        return (state.count_B >= max_events) | (state.grammar.elapsed_B >= limits.max_steps)

    def play_event(state: _State, uniform_B: jax.Array) -> tuple[_State, jax.Array]:
        done_B = is_done(state)
        logits_BxV, carry = think(state)
        legal_BxV = grammar.legal_events(vocabulary, state.grammar, limits)
        token_B = sampling.draw(uniform_B, logits_BxV, legal_BxV, temperature, filters)
        token_B = grammar.shorten(vocabulary, state.grammar, limits, token_B)
        played = grammar.advance(vocabulary, state.grammar, token_B)
        state = _State(token_B, carry, played, state.count_B + ~done_B)
        return state, jnp.where(done_B, PAD, token_B)

    def play_block(loop: _Loop) -> _Loop:
        state, tokens_BxT, block = loop
        state, new_TxB = jax.lax.scan(play_event, state, _uniform(keys_B, block))
        start = (0, block * BLOCK_EVENTS)
        return state, jax.lax.dynamic_update_slice(tokens_BxT, new_TxB.T, start), block + 1

    def unfinished(loop: _Loop) -> jax.Array:
        state, _, block = loop
        return (block < num_blocks) & ~is_done(state).all()

    batch_size = len(numbers_B)
    keys_B = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers_B)
    is_guided = script is not None and script.guidance is not None
    num_minds = 2 * batch_size if is_guided else batch_size
    weights = model.step_weights(params, num_minds)
    think = _thinker(model, params, weights, script)
    silence_BxT = jnp.full((batch_size, num_blocks * BLOCK_EVENTS), PAD, jnp.int32)
    state = _listen(model, vocabulary, weights, primer, batch_size, num_minds)
    loop = (state, silence_BxT, jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(unfinished, play_block, loop)[1]


def _thinker(
    model: PerformanceRNN, params: Any, weights: StepWeights, script: _Script | None
) -> Callable[[_State], tuple[jax.Array, Any]]:
    """What gives, in a state, the logits of the next event, (B, V), and the next carry."""
    if script is None:
        return lambda state: model.step(weights, state.token_B, state.carry)
    controls_KxG = model.project_controls(params, jnp.asarray(script.features_KxC))

    def told(state: _State) -> jax.Array:
        has_begun_BxK = script.begins_K <= state.grammar.elapsed_B[:, None]
        return controls_KxG[has_begun_BxK.sum(axis=1) - 1]

    def think(state: _State) -> tuple[jax.Array, Any]:
        return model.step(weights, state.token_B, state.carry, told(state))

    def think_twice(guidance: float, state: _State) -> tuple[jax.Array, Any]:
        controls_BxG = told(state)
        logits, carry = model.step(
            weights,
            jnp.tile(state.token_B, 2),
            state.carry,
            jnp.concatenate((controls_BxG, jnp.zeros_like(controls_BxG))),
        )
        told_BxV, untold_BxV = jnp.split(logits, 2)
        return untold_BxV + guidance * (told_BxV - untold_BxV), carry

    if script.guidance is None:
        return think
    return functools.partial(think_twice, script.guidance)


def _uniform(keys_B: jax.Array, block: jax.Array | int) -> jax.Array:
    """The numbers in [0, 1) that decide a block's events, (BLOCK_EVENTS, B), each row's its own."""
    block_keys_B = jax.vmap(jax.random.fold_in, (0, None))(keys_B, block)
    return jax.vmap(lambda key: jax.random.uniform(key, (BLOCK_EVENTS,)), out_axes=1)(block_keys_B)


def _listen(
    model: PerformanceRNN,
    vocabulary: EventVocabulary,
    weights: StepWeights,
    primer: _Primer,
    batch_size: int,
    num_minds: int,
) -> _State:
    """The state after START and the primer, heard once and shared by the whole batch.

    There are as many carries as there are to be minds: twice the batch where each row thinks twice.
    """
    tokens_T = jnp.asarray(primer.tokens_T)

    def hear_event(t: jax.Array, heard: tuple) -> tuple:
        carry, state = heard
        _, carry = model.step(weights, tokens_T[t][None], carry)
        return carry, grammar.advance(vocabulary, state, tokens_T[t + 1][None])

    silence = (model.initial_carry(1), grammar.initial_state(1))
    carry, state = jax.lax.fori_loop(0, primer.num_events, hear_event, silence)
    state = state._replace(elapsed_B=jnp.zeros_like(state.elapsed_B))
    token_1 = tokens_T[primer.num_events][None]
    return _State(
        token_B=token_1.repeat(batch_size),
        carry=jax.tree.map(lambda x_Lx1xH: x_Lx1xH.repeat(num_minds, axis=1), carry),
        grammar=jax.tree.map(lambda x_1: x_1.repeat(batch_size, axis=0), state),
        count_B=jnp.zeros(batch_size, jnp.int32),
    )


def _num_blocks(max_events: int, rows: int) -> int:
    """Blocks enough for `max_events`, a power of two so that few lengths compile anew."""
    num_blocks = max(MIN_BLOCKS, _power_of_two(-(-max_events // BLOCK_EVENTS)))
    if rows * num_blocks * BLOCK_EVENTS > MAX_BATCH_EVENTS:
        raise UserError(
            f"{rows} performances of up to {max_events} events do not fit in a device's memory; "
            "ask for fewer or shorter ones"
        )
    return num_blocks


def _pad_primer(primer: np.ndarray, start: int) -> _Primer:
    slots = max(MIN_PRIMER_SLOTS, _power_of_two(len(primer)))
    tokens_T = np.full(1 + slots, start, np.int32)
    tokens_T[1 : 1 + len(primer)] = primer
    return _Primer(tokens_T, len(primer))


def _power_of_two(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def _finish(vocabulary: EventVocabulary, tokens: np.ndarray) -> np.ndarray:
    """Drops a last velocity, and gives notes struck last of all the one step they need."""
    kinds = vocabulary.kinds[tokens]
    if len(tokens) and kinds[-1] == VELOCITY:
        tokens, kinds = tokens[:-1], kinds[:-1]
    shifts = np.flatnonzero(kinds == TIME_SHIFT)
    since_shift = kinds[shifts[-1] + 1 :] if len(shifts) else kinds
    if NOTE_ON in since_shift:
        tokens = np.append(tokens, np.int32(vocabulary.shift_base))
    return tokens
