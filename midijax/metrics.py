"""How well a model predicts music: likelihood and accuracy, per event, note and second.

Shapes: B rows, T events of a chunk, N events of a row, L layers, H hidden units, V vocabulary,
K kinds of event.
"""

import collections
import dataclasses
import functools
import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from midijax import progress as progress_lib
from midijax.errors import UserError
from midijax.events import KIND_NAMES, NOTE_ON, PAD, EventVocabulary
from midijax.model import Carry, PerformanceRNN

CROP_EVENTS = 2048  # the crops of Music Transformer's scores (Hawthorne et al. 2018, table 6)
_CHUNKS_AHEAD = 2  # dispatched before the oldest is waited for


@dataclasses.dataclass(frozen=True)
class Scores:
    """Sums over the events of an evaluation, from which every ratio is divided once.

    Attributes:
      nats: negative log-likelihood, summed over the events of each kind, in KIND_NAMES' order.
      count: the number of events of each kind.
      correct: how many of them were the model's most likely event.
      seconds: length of the music, in seconds: the sum of its time-shifts.
    """

    nats: tuple[float, ...]
    count: tuple[int, ...]
    correct: tuple[int, ...]
    seconds: float

    @property
    def events(self) -> int:
        """The number of events scored."""
        return sum(self.count)

    @property
    def nats_per_event(self) -> float:
        """Negative log-likelihood per event."""
        return _ratio(sum(self.nats), self.events)

    @property
    def nats_per_note(self) -> float:
        """All nats over the number of note-ons; NaN without one."""
        return _ratio(sum(self.nats), self.count[NOTE_ON])

    @property
    def nats_per_second(self) -> float:
        """All nats over the seconds of music; NaN if no time passes."""
        return _ratio(sum(self.nats), self.seconds)

    @property
    def accuracy(self) -> float:
        """The share of events that were the model's most likely one."""
        return _ratio(sum(self.correct), self.events)

    def to_json(self) -> dict[str, Any]:
        """The ratios, also by kind of event; None where there was nothing to divide by.

        Notes are note-ons and seconds those of the music for every kind, so that the nats per note
        or second of the kinds add up to those of all events.
        """
        names = ("nats_per_event", "nats_per_note", "nats_per_second", "accuracy")
        ratios = {name: _finite_or_none(getattr(self, name)) for name in names}
        kinds = zip(KIND_NAMES, self.nats, self.count, self.correct, strict=True)
        by_kind = {
            name: {
                "count": count,
                "nats": _finite_or_none(nats),
                "nats_per_event": _finite_or_none(_ratio(nats, count)),
                "nats_per_note": _finite_or_none(_ratio(nats, self.count[NOTE_ON])),
                "nats_per_second": _finite_or_none(_ratio(nats, self.seconds)),
                "accuracy": _finite_or_none(_ratio(correct, count)),
            }
            for name, nats, count, correct in kinds
        }
        return {**ratios, "events": self.events, "seconds": self.seconds, "by_kind": by_kind}


def score(
    model: PerformanceRNN,
    params: Any,
    sequences: Sequence[np.ndarray],
    vocabulary: EventVocabulary,
    batch_size: int = 64,
    chunk: int = 256,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> Scores:
    """Scores every event of every sequence, each from its first event on with carried state.

    The sequences are laid end to end in `batch_size` rows, each padded to whole chunks only; the
    carry of a row is cleared where a sequence begins. Neither the batch size, nor the chunk, nor
    the order of the sequences changes a score beyond rounding.

    Args:
      model: the network; it predicts event t from START and the events before t.
      params: its parameters; with a mesh, replicated over it or on the host.
      sequences: event ids, each of shape (events,); empty ones count for nothing.
      vocabulary: the meaning of the ids.
      batch_size: the most rows scored at once; on a mesh rounded up to a multiple of its devices.
      chunk: events per row and call of the network.
      mesh: a mesh with the axis "data", along which the rows are divided; every process must pass
        the same sequences.
      progress: whether to show a progress bar.

    Raises:
      UserError: there is no event to score.
    """
    sequences = [np.asarray(sequence, np.int32) for sequence in sequences if len(sequence)]
    if not sequences:
        raise UserError("there is nothing to evaluate: no performance holds any event")
    lengths = [len(sequence) for sequence in sequences]
    rows = min(batch_size, -(-sum(lengths) // max(lengths)))  # more would wait for the longest
    if mesh is not None:
        rows = -(-rows // mesh.size) * mesh.size
    streams = _lay_out(sequences, rows, chunk, start=model.start)
    sums_2xK = _sum_chunks(model, params, streams, chunk, vocabulary.kinds, mesh, progress)
    events = np.concatenate(sequences)
    kinds = vocabulary.kinds[events]
    steps = vocabulary.steps(events)[-1]
    return Scores(
        nats=tuple(sums_2xK[0].tolist()),
        count=tuple(np.bincount(kinds, minlength=len(KIND_NAMES)).tolist()),
        correct=tuple(sums_2xK[1].astype(int).tolist()),
        seconds=float(steps / vocabulary.steps_per_second),
    )


def crops(sequences: Sequence[np.ndarray], length: int = CROP_EVENTS) -> list[np.ndarray]:
    """Cuts each sequence from its start into pieces of `length` events; the last may be shorter."""
    return [
        sequence[begin : begin + length]
        for sequence in sequences
        for begin in range(0, len(sequence), length)
    ]


@dataclasses.dataclass(frozen=True)
class _Streams:
    """Sequences end to end: inputs_BxN, targets_BxN, and which chunks begin one, (B, N / T)."""

    inputs: np.ndarray
    targets: np.ndarray
    begins: np.ndarray


def _lay_out(sequences: list[np.ndarray], rows: int, chunk: int, start: int) -> _Streams:
    """Gives each sequence, the longest first, to the row that is shortest so far."""
    heap = [(0, row) for row in range(rows)]
    places = []
    for sequence in sorted(sequences, key=len, reverse=True):
        first_chunk, row = heapq.heappop(heap)
        places.append((row, first_chunk, sequence))
        heapq.heappush(heap, (first_chunk + -(-len(sequence) // chunk), row))
    num_chunks = max(heap)[0]

    inputs_BxN = np.zeros((rows, num_chunks * chunk), np.int32)
    targets_BxN = np.full_like(inputs_BxN, PAD)
    begins = np.zeros((rows, num_chunks), bool)
    for row, first_chunk, sequence in places:
        begin = first_chunk * chunk
        targets_BxN[row, begin : begin + len(sequence)] = sequence
        inputs_BxN[row, begin] = start
        inputs_BxN[row, begin + 1 : begin + len(sequence)] = sequence[:-1]
        begins[row, first_chunk] = True
    return _Streams(inputs_BxN, targets_BxN, begins)


def _sum_chunks(
    model: PerformanceRNN,
    params: Any,
    streams: _Streams,
    chunk: int,
    kinds: np.ndarray,
    mesh: Mesh | None,
    progress: bool,
) -> np.ndarray:
    """Nats and correct guesses by kind, float64 (2, K); later chunks run while a sum is fetched."""
    score_chunk = _compiled(model, mesh)
    if mesh is not None:
        params = jax.device_put(params, NamedSharding(mesh, PartitionSpec()))
    carry = jax.tree.map(
        lambda x_LxBxH: _place(np.asarray(x_LxBxH), mesh, batch_axis=1),
        model.initial_carry(len(streams.inputs)),
    )
    total_2xK = np.zeros((2, len(KIND_NAMES)))
    pending: collections.deque[jax.Array] = collections.deque()
    num_events = int((streams.targets != PAD).sum())
    with _bar(total=num_events, disable=not progress) as bar:
        for inputs_BxT, targets_BxT, begins_B in _chunks(streams, chunk):
            placed = (_place(array, mesh) for array in (inputs_BxT, targets_BxT, begins_B))
            sums_2xK, carry = score_chunk(params, *placed, carry, kinds)
            pending.append(sums_2xK)
            if len(pending) > _CHUNKS_AHEAD:
                total_2xK += np.asarray(pending.popleft())
            bar.update(int((targets_BxT != PAD).sum()))
    return sum((np.asarray(sums_2xK) for sums_2xK in pending), total_2xK)


_bar = functools.partial(
    progress_lib.bar, desc="evaluating", unit=" events", unit_scale=True, leave=False
)


def _chunks(streams: _Streams, chunk: int) -> Iterator[tuple[np.ndarray, ...]]:
    for index in range(streams.begins.shape[1]):
        span = slice(index * chunk, (index + 1) * chunk)
        yield streams.inputs[:, span], streams.targets[:, span], streams.begins[:, index]


@functools.cache
def _compiled(model: PerformanceRNN, mesh: Mesh | None) -> Callable[..., Any]:
    """`_score_chunk` for one model, its sums on every process and its carry divided by rows."""
    function = functools.partial(_score_chunk, model)
    if mesh is None:
        return jax.jit(function)
    by_row = NamedSharding(mesh, PartitionSpec(None, "data"))
    return jax.jit(function, out_shardings=(NamedSharding(mesh, PartitionSpec()), by_row))


def _score_chunk(
    model: PerformanceRNN,
    params: Any,
    inputs_BxT: jax.Array,
    targets_BxT: jax.Array,
    begins_B: jax.Array,
    carry: Any,
    kinds: jax.Array,
) -> tuple[jax.Array, Carry]:
    """Sums_2xK, nats and correct guesses of one chunk, and the carry after it."""
    carry = jax.tree.map(lambda x_LxBxH: jnp.where(begins_B[None, :, None], 0, x_LxBxH), carry)
    logits_BxTxV, carry = model.apply({"params": params}, inputs_BxT, carry, deterministic=True)
    is_event_BxT = targets_BxT != PAD
    labels_BxT = jnp.where(is_event_BxT, targets_BxT, 0)
    nats_BxT = optax.losses.softmax_cross_entropy_with_integer_labels(logits_BxTxV, labels_BxT)
    correct_BxT = logits_BxTxV.argmax(-1) == labels_BxT
    kinds_BxT = jnp.where(is_event_BxT, kinds[labels_BxT], PAD)
    is_kind_BxTxK = jax.nn.one_hot(kinds_BxT, len(KIND_NAMES), dtype=bool)  # no kind at padding
    sums = [
        jnp.where(is_kind_BxTxK, values_BxT[..., None], 0.0).sum((0, 1))
        for values_BxT in (nats_BxT, correct_BxT)
    ]
    return jnp.stack(sums), carry


def _place(array: np.ndarray, mesh: Mesh | None, batch_axis: int = 0) -> Any:
    """Divides an array that every process holds over a mesh; without one, leaves it."""
    if mesh is None:
        return array
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * batch_axis, "data"))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _ratio(amount: float, size: float) -> float:
    return amount / size if size else math.nan


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
