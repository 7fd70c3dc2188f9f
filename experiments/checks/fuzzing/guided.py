"""The campaign that atheris and libFuzzer steer to new branches of the reader."""

import random
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from fuzzing import targets
from fuzzing.account import Account
from fuzzing.mutations import excerpt, mutate
from midijax import _smf, midi, progress

GUIDED_BYTES = 8000  # at most
# Functions that compare arrays, and hardly branch: atheris 3.0.0 never frees what a comparison that
# it watches results in.
UNWATCHED = {"track", "_messages", "_notes", "_pedal", "__init__"}


def read_guided(
    account: Account, files: list[bytes], num: int, seed: int, finish: Callable[[], NoReturn]
) -> None:
    """Reads excerpts, one of each file, and what atheris makes of them."""
    import atheris

    for function in _watched(_smf, midi):
        atheris.instrument_func(function)
    rng = random.Random(seed)
    seeds = [excerpt(rng, data) for data in files]
    corpus = _written(seeds, account.folder)
    total = num + len(seeds)
    bar = progress.bar(total=total, desc=account.name, unit="file")

    def mutate_guided(data: bytes, max_size: int, _: int) -> bytes:
        if rng.random() < 0.5:
            return atheris.Mutate(data, max_size)
        return mutate(rng, data, files)[:max_size]

    def read_guided_input(data: bytes) -> None:
        targets.read(account, data)
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


def _written(seeds: list[bytes], folder: Path) -> tempfile.TemporaryDirectory:
    """A corpus for libFuzzer to start from and add to."""
    corpus = tempfile.TemporaryDirectory(dir=folder)
    for index, data in enumerate(seeds):
        Path(corpus.name, f"{index:05d}").write_bytes(data)
    return corpus


def _watched(*modules: types.ModuleType) -> Iterator[types.FunctionType]:
    """The functions and methods that are written in these modules, without UNWATCHED."""
    for module in modules:
        for member in list(vars(module).values()):
            owned = [member, *(vars(member).values() if isinstance(member, type) else ())]
            for function in owned:
                if not isinstance(function, types.FunctionType):
                    continue
                if function.__module__ == module.__name__ and function.__name__ not in UNWATCHED:
                    yield function
