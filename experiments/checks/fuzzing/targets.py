"""What inputs are given to: the reader and the decoder."""

import functools

import numpy as np

from fuzzing import soundness
from fuzzing.account import Account
from midijax import midi
from midijax.events import EventVocabulary


def read(account: Account, data: bytes) -> None:
    """Reads one file."""
    account.take(data, functools.partial(midi.read_bytes, data, "x.mid"), soundness.file_faults)


def decode(account: Account, vocabulary: EventVocabulary, tokens: np.ndarray) -> None:
    """Decodes one sequence."""
    account.take(
        tokens.astype(np.int64).tobytes(),
        functools.partial(vocabulary.decode, tokens),
        functools.partial(soundness.decoded_faults, vocabulary, tokens),
    )
