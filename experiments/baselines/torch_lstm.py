"""The plain PyTorch reference: `nn.LSTM`, 3 x 512, on the events that midijax trains on.

Streams whose state is carried on from one 256 events to the next, each performance from the zero
state and START, as played; no augmentation, no dropout; Adam at 1e-3, gradients clipped at norm 3.
It needs an environment of its own, and takes a GPU where there is one:

    python3 -m venv peers && peers/bin/pip install -e . torch==2.13.0
    peers/bin/python experiments/baselines/torch_lstm.py --data=runs/data/maestro-v3

Shapes: B streams, T time, N chunks, E events.
"""

import itertools
from collections.abc import Iterator, Sequence

import baseline
import numpy as np
import torch
from absl import flags
from baseline import START, VOCABULARY
from torch import nn

from midijax import cli, progress
from midijax.errors import UserError
from midijax.events import PAD
from midijax.metrics import Scores

CHUNK = 256  # events between two updates
SCORED_AT_ONCE = 128  # sequences
LEARNING_RATE, CLIP_NORM = 1e-3, 3.0

FLAGS = baseline.FLAGS
_NUM_EVENTS = flags.DEFINE_list(
    "num_events",
    ["4915200", "9830400", "19660800"],
    "Score the model after it has seen so many events, ascending; the last number ends training.",
    flag_values=FLAGS,
)
_STREAMS = flags.DEFINE_integer(
    "streams", 64, "Rows of a batch.", lower_bound=1, upper_bound=2**16, flag_values=FLAGS
)
_SEED = flags.DEFINE_integer("seed", 0, "Of parameters and order.", flag_values=FLAGS)

Carry = tuple[torch.Tensor, torch.Tensor]


class Network(nn.Module):
    """Embedding, LSTM stack and head; it predicts what follows each input."""

    def __init__(self, num_layers: int = 3, hidden_size: int = 512):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY.size + 1, hidden_size)
        self.lstm = nn.LSTM(hidden_size, hidden_size, num_layers)
        self.head = nn.Linear(hidden_size, VOCABULARY.size)

    def forward(self, inputs_TxB: torch.Tensor, carry: Carry) -> tuple[torch.Tensor, Carry]:
        """logits_TxBxV, and the state after the last input."""
        h_TxBxH, carry = self.lstm(self.embedding(inputs_TxB), carry)
        return self.head(h_TxBxH), carry

    def zero_carry(self, rows: int) -> Carry:
        """The state before START."""
        shape = self.lstm.num_layers, rows, self.lstm.hidden_size
        zeros = torch.zeros(shape, device=self.head.weight.device)
        return zeros, zeros

    def place(self, array: np.ndarray) -> torch.Tensor:
        """An array where the parameters are."""
        return torch.from_numpy(array).to(self.head.weight.device)

    @torch.inference_mode()
    def score(self, sequences: Sequence[np.ndarray]) -> Scores:
        """Scores every event of the sequences, each from its first event on with carried state."""
        ordered = sorted(sequences, key=len, reverse=True)
        groups = [ordered[i : i + SCORED_AT_ONCE] for i in range(0, len(ordered), SCORED_AT_ONCE)]
        with progress.bar(
            total=sum(map(len, ordered)), desc="evaluating", unit=" events", unit_scale=True
        ) as bar:
            measured = []
            for events_E, nats_E, correct_E in itertools.chain.from_iterable(
                map(self._score_together, groups)
            ):
                measured.append((events_E, nats_E, correct_E))
                bar.update(len(events_E))
        events_E, nats_E, correct_E = map(np.concatenate, zip(*measured, strict=True))
        return baseline.scores(events_E, nats_E, correct_E)

    def _score_together(self, sequences: list[np.ndarray]) -> Iterator[tuple[np.ndarray, ...]]:
        """Events, their nats, and whether they were the first guess, a chunk at a time."""
        inputs_TxB = np.full((len(sequences[0]), len(sequences)), START)
        targets_TxB = np.full_like(inputs_TxB, PAD)
        for row, sequence in enumerate(sequences):
            inputs_TxB[1 : len(sequence), row] = sequence[:-1]
            targets_TxB[: len(sequence), row] = sequence
        c, h = self.zero_carry(len(sequences))
        for begin in range(0, len(inputs_TxB), CHUNK):
            going_on = sum(len(sequence) > begin for sequence in sequences)
            span = slice(begin, begin + CHUNK), slice(going_on)
            carry = c[:, :going_on].contiguous(), h[:, :going_on].contiguous()
            logits_TxBxV, (c, h) = self(self.place(inputs_TxB[span]), carry)
            targets = self.place(targets_TxB[span])
            is_event = targets != PAD
            logits_ExV, events_E = logits_TxBxV[is_event], targets[is_event]
            nats_E = nn.functional.cross_entropy(logits_ExV, events_E, reduction="none")
            correct_E = logits_ExV.argmax(-1) == events_E
            yield tuple(value.cpu().numpy() for value in (events_E, nats_E, correct_E))


Batch = tuple[np.ndarray, np.ndarray, np.ndarray]  # inputs_TxB, targets_TxB, begins_B


def epoch(
    sequences: Sequence[np.ndarray], streams: int, rng: np.random.Generator
) -> Iterator[Batch]:
    """The sequences once, in a random order, end to end in chunks, in as many streams.

    `begins_B` says of which streams the state is to be cleared before the chunk.
    """
    order = rng.permutation(len(sequences))
    lengths = np.array([len(sequences[index]) for index in order])
    counts = -(-lengths // CHUNK)
    inputs_NxT = np.full((counts.sum(), CHUNK), START)
    targets_NxT = np.full_like(inputs_NxT, PAD)
    firsts = np.cumsum(counts) - counts
    for index, first, length in zip(order, firsts * CHUNK, lengths, strict=True):
        inputs_NxT.reshape(-1)[first + 1 : first + length] = sequences[index][:-1]
        targets_NxT.reshape(-1)[first : first + length] = sequences[index]
    is_first_N = np.isin(np.arange(len(inputs_NxT)), firsts)
    num_steps = len(inputs_NxT) // streams
    for step in range(num_steps):
        rows = step + num_steps * np.arange(streams)
        begins_B = is_first_N[rows] | (step == 0)
        yield inputs_NxT[rows].T, targets_NxT[rows].T, begins_B


def train(network: Network, batches: Iterator[Batch]) -> Iterator[int]:
    """Takes a step for each batch; yields the number of events in it."""
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    carry: Carry | None = None
    for inputs_TxB, targets_TxB, begins_B in batches:
        c, h = carry or network.zero_carry(len(begins_B))
        keep = network.place(~begins_B)[None, :, None]
        logits_TxBxV, (c, h) = network(network.place(inputs_TxB), (c * keep, h * keep))
        carry = c.detach(), h.detach()
        loss = nn.functional.cross_entropy(
            logits_TxBxV.flatten(0, 1), network.place(targets_TxB).flatten(), ignore_index=PAD
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
        optimizer.step()
        yield int((targets_TxB != PAD).sum())


def main(arguments: list[str]) -> None:
    """Trains, and tells the scores on the way and at the end."""
    folder = baseline.begin(arguments)
    milestones = _milestones()
    sequences = [VOCABULARY.encode(each) for each in baseline.performances(folder, "train")]
    held_out = baseline.to_predict(folder)
    if sum(map(len, sequences)) < CHUNK * _STREAMS.value:
        raise UserError(f"--data={folder} has too few events for --streams={_STREAMS.value}")
    torch.manual_seed(_SEED.value)
    network = Network().to("cuda" if torch.cuda.is_available() else "cpu")
    rng = np.random.default_rng(_SEED.value)
    steps = train(
        network,
        itertools.chain.from_iterable(
            epoch(sequences, _STREAMS.value, rng) for _ in itertools.count()
        ),
    )
    seen = 0
    with progress.bar(
        total=milestones[-1], desc="training", unit=" events", unit_scale=True
    ) as bar:
        for milestone in milestones:
            while seen < milestone:
                seen += (events := next(steps))
                bar.update(events)
            if milestone < milestones[-1]:
                nats = network.score(held_out).nats_per_event
                bar.write(f"after {seen:,} events: {nats:.4f} nats per event, whole performances")
    baseline.report(f"PyTorch nn.LSTM after {seen:,} events", network.score, held_out)


def _milestones() -> list[int]:
    """The numbers of --num_events."""
    words = _NUM_EVENTS.value
    numbers = [int(word) for word in words if word.isascii() and word.isdecimal()]
    if len(numbers) < max(1, len(words)) or numbers != sorted(set(numbers)):
        raise UserError(f"--num_events={','.join(words)} must be numbers, ascending")
    return numbers


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
