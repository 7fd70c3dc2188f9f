"""Campaigns by chance alone: files with mutations, and token sequences."""

import random
from collections.abc import Callable
from typing import NoReturn

import numpy as np

from fuzzing import targets
from fuzzing.account import Account
from fuzzing.mutations import excerpt, mutate
from fuzzing.sequences import sequence
from fuzzing.soundness import PRESETS
from midijax import midi, progress

WHOLE_FILES = 0.1  # their share; the other inputs begin as excerpts
NUM_ENCODED = 64  # files that token sequences are cut from


def read_blindly(
    account: Account, files: list[bytes], num: int, seed: int, _: Callable[[], NoReturn]
) -> None:
    """Reads mutated files and excerpts."""
    rng = random.Random(seed)
    for _number in progress.bar(range(num), desc=account.name, unit="file"):
        targets.read(account, mutate(rng, excerpt(rng, rng.choice(files), WHOLE_FILES), files))


def decode_sequences(
    account: Account, files: list[bytes], num: int, seed: int, _: Callable[[], NoReturn]
) -> None:
    """Decodes sequences in each vocabulary by turns."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(files), min(NUM_ENCODED, len(files)), replace=False)
    performances = [midi.read_bytes(files[index], "x.mid") for index in chosen]
    played = [(preset, [preset.encode(p) for p in performances]) for preset in PRESETS]
    for number in progress.bar(range(num), desc=account.name, unit="sequence"):
        vocabulary, sources = played[number % len(played)]
        targets.decode(account, vocabulary, sequence(rng, vocabulary, sources))
