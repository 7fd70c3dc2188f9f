"""Checkpoints on disk: the only file that knows orbax.

A workdir holds `checkpoints/STEP/{params,optimizer,run,metrics}`: the items are apart, so that a
sampler reads the parameters alone. A checkpoint is complete or absent; its files are held against
their checksums before it is read, and where they differ, the checkpoint before counts.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from midijax import checksums, mirror, remote
from midijax import config as config_lib
from midijax import model as model_lib
from midijax.checksums import Damage
from midijax.config import Config
from midijax.errors import UserError

METRIC = "nats_per_event"  # of the validation split; the best checkpoint has the lowest
NUM_LATEST = 2  # kept, so that there is one before the latest


@dataclasses.dataclass(frozen=True)
class Restored:
    """Where a run goes on.

    Attributes:
      step: the optimizer steps taken.
      params, optimizer: the state after them.
      position: of the data, as the pipeline's iterator gave it.
      validated: whether this step was scored on the validation split.
    """

    step: int
    params: Any
    optimizer: Any
    position: dict[str, Any]
    validated: bool


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What a sampler or an evaluation needs of a run.

    Attributes:
      config: the run's config.
      params: the model's parameters, float32.
      step: the optimizer steps they took.
      path: the checkpoint's folder.
    """

    config: Config
    params: Any
    step: int
    path: Path


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
        `damaged`; raises UserError if only such are there.
        """
        self.config = config
        self.corpus = corpus
        self._folder = _folder(workdir)
        self._saving = self._folder.with_name(".saving")  # there while a checkpoint is incomplete
        self._manager = self._open() if jax.process_index() == 0 else None
        step = self._manager.latest_step() if self._manager else None
        self._latest_step = _of_primary(step or 0)

    @property
    def latest_step(self) -> int:
        """The step that a run would go on from; 0 if nothing is saved."""
        return self._latest_step

    def save(
        self,
        step: int,
        params: Any,
        optimizer: Any,
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
                params, optimizer = jax.device_get((params, optimizer))
            try:
                self._write(self._manager, step, params, optimizer, run)
            except Exception as error:  # tensorstore's failures are of many types
                self._remove_unfinished()
                raise UserError(
                    f"the checkpoint of step {step} cannot be written to '{self._folder}' "
                    f"({_reason(error)}); those before it are kept, and the same command goes on "
                    "from there when there is room"
                ) from error
        self._latest_step = step

    def restore(self, params: Any, optimizer: Any) -> Restored | None:
        """The latest checkpoint, or None if nothing is saved yet.

        `params` and `optimizer` say the shapes and shardings wanted.
        Raises UserError if the run there has another config or trains on other data.
        """
        step = self._latest_step
        if step == 0:
            return None
        path = self._folder / str(step)
        run = _of_primary(_read_run(path) if self._manager else None)
        self._check_same_run(run)
        state = {"params": params, "optimizer": optimizer}
        on_host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), state)
        if self._manager:
            items = {name: ocp.args.StandardRestore(item) for name, item in on_host.items()}
            restored = _restore(path, **items)
            on_host = {name: restored[name] for name in items}
        if jax.process_count() > 1:
            on_host = multihost_utils.broadcast_one_to_all(on_host)
        placed = jax.tree.map(
            lambda value, leaf: jax.device_put(value, leaf.sharding), on_host, state
        )
        return Restored(
            step=step,
            **placed,
            position=run["position"],
            validated=run["metrics"] is not None,
        )

    def close(self) -> None:
        """Waits for what is being written."""
        if self._manager:
            self._manager.close()

    def _open(self) -> ocp.CheckpointManager:
        self._remove_unfinished()
        _set_damaged_aside(self._folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        return ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(
                    [policies.LatestN(NUM_LATEST), _BEST]
                ),
                best_fn=_loss,  # without it orbax keeps no metrics on disk
                best_mode="min",
                enable_async_checkpointing=False,
                create=False,
                multiprocessing_options=_alone(),
            ),
        )

    def _write(
        self,
        manager: ocp.CheckpointManager,
        step: int,
        params: Any,
        optimizer: Any,
        run: dict[str, Any],
    ) -> None:
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(params),
            optimizer=ocp.args.StandardSave(optimizer),
            run=ocp.args.JsonSave(run),
        )
        _check_room(self._folder, (params, optimizer))
        self._saving.write_text(str(step))
        if step in manager.all_steps():
            manager.delete(step)
        manager.save(step, args=items, metrics=run["metrics"])
        checksums.write(self._folder / str(step))
        self._saving.unlink()

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
        """Takes away what was written of a checkpoint whose saving failed or was cut off."""
        if self._saving.exists():
            step = self._saving.read_text()
            if step.isdecimal() and not (self._folder / step / checksums.NAME).exists():
                shutil.rmtree(self._folder / step, ignore_errors=True)
            for path in self._folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)
            self._saving.unlink()


def load(workdir: Path) -> Loaded:
    """The best checkpoint of a run, or the latest if none was validated.

    Damaged ones are named on standard error and passed over; raises UserError if none is sound.
    """
    with mirror.checkpoints(workdir, except_item="optimizer") as local:
        loaded = _load(workdir, _folder(local))
    return dataclasses.replace(loaded, path=_folder(workdir) / str(loaded.step))


def _load(workdir: Path, folder: Path) -> Loaded:
    if not folder.is_dir():
        raise UserError(
            f"'{workdir}' holds no checkpoint; train one with: "
            f"python -m midijax.train --workdir={workdir}"
        )
    if not _steps(folder):
        raise UserError(f"{folder} holds no complete checkpoint yet; let the training go on")
    path = min(_sound(folder, except_under="optimizer"), key=_rank)
    run = _read_run(path)
    with _reading(path):
        config = config_lib.from_json(run["config"])
    params = _restore(path, params=ocp.args.StandardRestore(_params(config, path)))["params"]
    return Loaded(config, params, int(path.name), path)


def _rank(path: Path) -> tuple[float, int]:
    """Lowest for the best checkpoint; without scores, for the latest."""
    metrics = _read_run(path)["metrics"]
    return math.inf if metrics is None else _loss(metrics), -int(path.name)


def _check_room(folder: Path, arrays: Any) -> None:
    """Raises OSError if the disk is too full for them; orbax would find out in many words."""
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(arrays)) + _ROOM_BESIDE_ARRAYS
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _set_damaged_aside(folder: Path) -> None:
    steps = _steps(folder)
    sound = _sound(folder) if steps else []
    for step in steps:
        if folder / str(step) not in sound:
            aside = folder.with_name("damaged") / str(step)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (folder / str(step)).rename(aside)


def _sound(folder: Path, except_under: str = "") -> list[Path]:
    """The checkpoints whose files are as they were saved; UserError if none is.

    The others are named on standard error.
    """
    sound, damaged = [], []
    for step in _steps(folder):
        path = folder / str(step)
        try:
            checksums.verify(path, except_under)
            sound.append(path)
        except Damage as damage:
            damaged.append(f"the checkpoint '{path}' is damaged: {damage}")
    if not sound:
        raise UserError(
            f"{damaged[0]}; no other there is sound: put a copy back, or take another --workdir"
        )
    for sentence in damaged:
        print(f"{sentence}; it is passed over", file=sys.stderr)
    return sound


def _steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, the latest first."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted((int(name) for name in names if name.isdecimal()), reverse=True)


def _read_run(path: Path) -> dict[str, Any]:
    """What `Checkpoints.save` noted of the run; UserError if it is of another form."""
    run = _restore(path, run=ocp.args.JsonRestore())["run"]
    if not (isinstance(run, dict) and run.keys() == _RUN_FIELDS and _are_metrics(run["metrics"])):
        raise UserError(f"{path} was not saved by this version of midijax; train anew with it")
    return run


def _are_metrics(metrics: Any) -> bool:
    return metrics is None or (isinstance(metrics, dict) and type(metrics.get(METRIC)) is float)


def _restore(path: Path, **items: Any) -> Any:
    """Items of a checkpoint; UserError if its files, though as saved, cannot be read."""
    orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=_alone())
    with orbax as checkpointer, _reading(path):
        return checkpointer.restore(path, args=ocp.args.Composite(**items))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Makes a UserError that names the checkpoint of whatever goes wrong."""
    try:
        yield
    except Exception as error:  # each of orbax, tensorstore and json raises its own
        raise UserError(
            f"{path} cannot be read ({_reason(error)}); name another run by --workdir, or "
            "train anew"
        ) from error


def _alone() -> ocp.options.MultiprocessingOptions:
    """Lets orbax wait for no other process."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


def _of_primary(value: Any) -> Any:
    """What the first process has of a value of JSON."""
    if jax.process_count() == 1:
        return value
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    sent = multihost_utils.broadcast_one_to_all(np.resize(text, size))
    return json.loads(bytes(np.asarray(sent)))


def _params(config: Config, path: Path) -> Any:
    """What to restore of a checkpoint on this device; UserError if it is not what it should be."""
    model = model_lib.from_config(config)
    shapes = jax.eval_shape(lambda key: model_lib.init(model, key), jax.random.key(0))
    with _reading(path):
        saved = _shapes(ocp.StandardCheckpointHandler().metadata(path / "params").tree)
    expected = _shapes(shapes)
    for name in sorted(expected | saved):
        if saved.get(name) != expected.get(name):
            raise UserError(
                f"{path} is damaged: its {name} is of shape {saved.get(name)}, by its config it "
                f"would be {expected.get(name)}; name another run by --workdir, or train anew"
            )
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), shapes
    )


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array by its path, as in `head/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape)
        for path, leaf in leaves
    }


def _reason(error: Exception) -> str:
    """An error in one short line."""
    text = getattr(error, "strerror", None) or " ".join(str(error).split())
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"


def _folder(workdir: Path) -> Path:
    return (workdir if remote.is_remote(workdir) else workdir.absolute()) / mirror.CHECKPOINTS


def _loss(metrics: dict[str, float]) -> float:
    return metrics[METRIC]


_RUN_FIELDS = {"config", "corpus", "position", "metrics"}
_REASON_LENGTH = 200
_ROOM_BESIDE_ARRAYS = 2**20  # bytes, for all that is not arrays
_BEST = policies.BestN(
    get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
)
