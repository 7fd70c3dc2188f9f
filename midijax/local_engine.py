"""Preparation in the processes of one machine."""

import contextlib
import dataclasses
import itertools
from collections.abc import Sequence

from midijax import corpus, ingest, progress, workers
from midijax.corpus import Shard
from midijax.parts import Part

_SHARDS_PER_PROCESS = 2  # fewer are written before a process has begun


@dataclasses.dataclass(frozen=True)
class LocalEngine:
    """Reads `num_workers` files, and writes as many shards, at a time."""

    num_workers: int

    def read(self, parts: Sequence[Part]) -> None:
        """Writes the parts that are not finished, each as soon as its files are read."""
        rest = [part for part in parts if not part.finished]
        sources = [source for part in rest for source in part.sources]
        total = sum(len(part.sources) for part in parts)
        num_workers = max(1, min(self.num_workers, len(sources)))
        with (
            contextlib.closing(ingest.Reader(num_workers)) as reader,
            progress.bar(
                reader.read(sources),
                desc="reading",
                total=total,
                initial=total - len(sources),
                unit="file",
            ) as bar,
        ):
            results = iter(bar)
            for part in rest:
                part.write(itertools.islice(results, len(part.sources)))
            next(results, None)  # counts the last file

    def write(self, shards: Sequence[Shard]) -> None:
        """Writes the shards that are not finished."""
        rest = [shard for shard in shards if not shard.finished]
        num_workers = min(self.num_workers, len(rest) // _SHARDS_PER_PROCESS)
        if num_workers < 2:
            corpus.write_each(rest)
            return
        with (
            workers.new_pool(num_workers) as pool,
            progress.bar(desc="writing", total=len(rest), unit="shard") as bar,
        ):
            for _ in pool.map(Shard.write, rest):
                bar.update()
