"""The checkpoints of a training run: saved, kept as long as needed, and gone on from."""

import dataclasses
import errno
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from midijax import checkpoint, checksums, distributed
from midijax import config as config_lib
from midijax.config import Config
from midijax.errors import UserError
from midijax.train_step import TrainState

NUM_LATEST = 2  # kept, so that there is one before the latest
_ROOM_BESIDE_ARRAYS = 2**20  # bytes, for all that is not arrays


@dataclasses.dataclass(frozen=True)
class Restored:
    """Where a run goes on.

    Attributes:
      step: the optimizer steps taken.
      state: what a step changes, after them.
      position: of the data, as the pipeline's iterator gave it.
      validated: whether this step was scored on the validation split.
    """

    step: int
    state: TrainState
    position: dict[str, Any]
    validated: bool


class Checkpoints:
    """The checkpoints of one run: the latest two and the best are kept.

    Of several processes the first alone reads and writes; the others are sent what it has read, and
    need not see its folder.

    Attributes:
      config: the run's config, saved with every checkpoint.
      corpus: the fingerprint of what the run trains on, saved likewise.
    """

    def __init__(self, workdir: Path, config: Config, corpus: str):
        """Opens (or makes) the workdir's checkpoint folder.

        Damaged checkpoints are named on standard error and moved to the workdir's folder
        `damaged`. Raises UserError if only such are there, or if the run there has another config
        or trains on other data; then nothing is moved.
        """
        self.config = config
        self.corpus = corpus
        self._folder = checkpoint.folder_of(workdir)
        self._saving = checkpoint.saving_note(self._folder)
        self._replaced = self._folder.with_name(".replaced")  # one that is saved again
        is_primary = jax.process_index() == 0
        run: dict[str, Any] | None = None
        damaged: dict[Path, str] = {}
        if is_primary:
            self._remove_unfinished()
            sound, damaged = checkpoint.examine(self._folder)
            run = checkpoint.read_run(sound[0]) if sound else None
        if run := distributed.from_primary(run):
            self._check_same_run(run)
        _set_aside(damaged)
        self._manager = self._open() if is_primary else None
        step = self._manager.latest_step() if self._manager else None
        self._latest_step = distributed.from_primary(step or 0)

    @property
    def latest_step(self) -> int:
        """The step that a run would go on from; 0 if nothing is saved."""
        return self._latest_step

    def save(
        self,
        step: int,
        state: TrainState,
        position: dict[str, Any],
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Writes a checkpoint, in place of one of the same step that was not validated.

        It holds what `Restored` tells of, and `metrics` of the validation split if this step was
        validated. Raises UserError if it cannot be written; those before it are kept.
        """
        run = {
            "config": config_lib.to_json(self.config),
            "corpus": self.corpus,
            "position": position,
            "metrics": metrics,
        }
        if self._manager:
            if jax.process_count() > 1:  # whose arrays orbax would have all of them write
                state = jax.device_get(state)
            try:
                self._write(self._manager, step, state, run)
            except Exception as error:  # tensorstore's failures are of many types
                self._remove_unfinished()
                self._manager.reload()
                raise UserError(
                    f"the checkpoint of step {step} cannot be written to '{self._folder}' "
                    f"({checkpoint.reason(error)}); those before it are kept, and the same command "
                    "goes on from there when there is room"
                ) from error
        self._latest_step = step

    def restore(self, like: TrainState) -> Restored | None:
        """The latest checkpoint, or None if nothing is saved yet.

        `like` says the shapes and shardings wanted.
        Raises UserError if it cannot be read, or is a model to play.
        """
        step = self._latest_step
        if step == 0:
            return None
        path = self._folder / str(step)
        run = distributed.from_primary(checkpoint.read_run(path) if self._manager else None)
        if run["position"] is None:
            raise UserError(
                f"{self._folder} holds a model to play and no run to go on with; to start from it, "
                "give another --workdir and name it by --start_from"
            )
        on_host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)
        if self._manager:
            wanted = {
                name: ocp.args.StandardRestore(item) for name, item in on_host._asdict().items()
            }
            items = checkpoint.restore(path, **wanted)
            on_host = TrainState(**{name: items[name] for name in wanted})
        if jax.process_count() > 1:
            on_host = multihost_utils.broadcast_one_to_all(on_host)
        return Restored(
            step=step,
            state=jax.tree.map(
                lambda value, leaf: jax.device_put(value, leaf.sharding), on_host, like
            ),
            position=run["position"],
            validated=run["metrics"] is not None,
        )

    def close(self) -> None:
        """Waits for what is being written."""
        if self._manager:
            self._manager.close()

    def _open(self) -> ocp.CheckpointManager:
        self._folder.mkdir(parents=True, exist_ok=True)
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(NUM_LATEST), _BEST]
                ),
                best_fn=checkpoint.loss,  # without it orbax keeps no metrics on disk
                best_mode="min",
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=checkpoint.alone(),
            ),
        )

    def _write(
        self,
        manager: ocp.CheckpointManager,
        step: int,
        state: TrainState,
        run: dict[str, Any],
    ) -> None:
        arrays = {name: ocp.args.StandardSave(item) for name, item in state._asdict().items()}
        items = ocp.args.Composite(**arrays, run=ocp.args.JsonSave(run))
        _check_room(self._folder, state)
        self._saving.write_text(str(step))
        if step in manager.all_steps():
            (self._folder / str(step)).rename(self._replaced)
            manager.reload()
        manager.save(step, args=items, metrics=run["metrics"])
        checksums.write(self._folder / str(step))
        self._remove_unfinished()

    def _check_same_run(self, run: dict[str, Any]) -> None:
        differing = config_lib.differences(self.config, config_lib.from_json(run["config"]))
        if differing:
            raise UserError(
                f"{self._folder} belongs to a run of another config ({'; '.join(differing)}); "
                "a run keeps its config, its number of steps too: give the same, or take another "
                "--workdir"
            )
        if run["corpus"] != self.corpus:
            raise UserError(
                f"{self._folder} belongs to a run on other data; "
                "give the same --data, or another --workdir"
            )

    def _remove_unfinished(self) -> None:
        """Leaves of a saving, whole, failed or cut off, the new checkpoint or the one before."""
        if step := checkpoint.unsaved(self._folder):
            path = self._folder / step
            if not (path / checksums.NAME).is_file():
                shutil.rmtree(path, ignore_errors=True)
                if self._replaced.is_dir():
                    self._replaced.rename(path)
            for partial in self._folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(self._replaced, ignore_errors=True)
        self._saving.unlink(missing_ok=True)


def _check_room(folder: Path, arrays: Any) -> None:
    """Raises OSError if the disk is too full for them; orbax would find out in many words."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _ROOM_BESIDE_ARRAYS
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _set_aside(damaged: Mapping[Path, str]) -> None:
    """Moves checkpoints to the workdir's folder `damaged`, and tells of each the sentence."""
    for path, sentence in damaged.items():
        aside = path.parent.with_name("damaged") / path.name
        while aside.exists():  # of an earlier time, to be kept too
            aside = aside.with_name(f"{aside.name}-again")
        aside.parent.mkdir(exist_ok=True)
        path.rename(aside)
        print(f"{sentence}; it is moved to '{aside}'", file=sys.stderr)


_BEST = policies.BestN(
    get_metric_fn=checkpoint.loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
)
