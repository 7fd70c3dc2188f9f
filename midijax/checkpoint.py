"""Checkpoints on disk, as they are read.

Beside `run_checkpoints`, which keeps a run's, and `publication` the only file that knows orbax.

A workdir holds `checkpoints/STEP/{params,optimizer,run,metrics}`: the items are apart, so that a
sampler reads the parameters alone. A checkpoint is complete or absent; its files are held against
their checksums before it is read, and where they differ, the checkpoint before counts.
"""

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from midijax import checksums, mirror, remote
from midijax import config as config_lib
from midijax import model as model_lib
from midijax.checksums import Damage
from midijax.config import Config
from midijax.errors import UserError, in_one_line

METRIC = "nats_per_event"  # of the validation split; the best checkpoint has the lowest
_RUN_FIELDS = {"config", "corpus", "position", "metrics"}
_REASON_LENGTH = 200


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


def load(workdir: Path) -> Loaded:
    """The best checkpoint of a run, or the latest if none was validated.

    Damaged ones are named on standard error and passed over; raises UserError if none is sound.
    """
    with mirror.checkpoints(workdir, except_item="optimizer") as local:
        loaded = _load(workdir, folder_of(local))
    return dataclasses.replace(loaded, path=folder_of(workdir) / str(loaded.step))


def _load(workdir: Path, folder: Path) -> Loaded:
    if not folder.is_dir():
        is_there = remote.is_remote(workdir) or workdir.is_dir()
        what = "holds no checkpoint" if is_there else "does not exist"
        raise UserError(
            f"'{workdir}' {what}; name the folder of a trained model, or train one there with: "
            f"python -m midijax.train --workdir={workdir}"
        )
    if not steps(folder):
        raise UserError(f"{folder} holds no complete checkpoint yet; let the training go on")
    path = min(sound(folder, except_under="optimizer"), key=_rank)
    run = read_run(path)
    with _reading(path):
        config = config_lib.from_json(run["config"])
    params = restore(path, params=ocp.args.StandardRestore(_params(config, path)))["params"]
    return Loaded(config, params, int(path.name), path)


def _rank(path: Path) -> tuple[float, int]:
    """Lowest for the best checkpoint; without scores, for the latest."""
    metrics = read_run(path)["metrics"]
    return math.inf if metrics is None else loss(metrics), -int(path.name)


def sound(folder: Path, except_under: str = "") -> list[Path]:
    """The checkpoints whose files are as they were saved; UserError if none is.

    The others are named on standard error.
    """
    intact, damaged = examine(folder, except_under)
    for sentence in damaged.values():
        print(f"{sentence}; it is passed over", file=sys.stderr)
    return intact


def examine(folder: Path, except_under: str = "") -> tuple[list[Path], dict[Path, str]]:
    """The checkpoints whose files are as they were saved, the latest first, and the others.

    Of each of those a sentence says what is wrong. UserError if only such are there.
    """
    intact, damaged = [], {}
    for step in steps(folder):
        path = folder / str(step)
        try:
            checksums.verify(path, except_under)
            intact.append(path)
        except Damage as damage:
            damaged[path] = f"the checkpoint '{path}' is damaged: {damage}"
    if damaged and not intact:
        raise UserError(
            f"{next(iter(damaged.values()))}; no other there is sound: put a copy back, or take "
            "another --workdir"
        )
    return intact, damaged


def steps(folder: Path) -> list[int]:
    """The steps of the checkpoints in a folder, the latest first; not one still being saved."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not (folder / (name := unsaved(folder)) / checksums.NAME).is_file():
        names.discard(name)
    return sorted((int(name) for name in names if _is_step(name)), reverse=True)


def unsaved(folder: Path) -> str:
    """The name of the checkpoint that is being saved or whose saving was cut off, or nothing."""
    note = saving_note(folder)
    name = note.read_bytes().decode("ascii", "replace") if note.is_file() else ""
    return name if _is_step(name) else ""


def _is_step(name: str) -> bool:
    return name.isascii() and name.isdecimal() and len(name) < 20 and str(int(name)) == name


def saving_note(folder: Path) -> Path:
    """The file that is there, with the step, while a checkpoint is incomplete."""
    return folder.with_name(".saving")


def read_run(path: Path) -> dict[str, Any]:
    """What `Checkpoints.save` noted of the run; UserError if it is of another form."""
    run = restore(path, run=ocp.args.JsonRestore())["run"]
    if not (isinstance(run, dict) and run.keys() == _RUN_FIELDS and _are_metrics(run["metrics"])):
        raise UserError(f"{path} was not saved by this version of midijax; train anew with it")
    return run


def _are_metrics(metrics: Any) -> bool:
    return metrics is None or (isinstance(metrics, dict) and type(metrics.get(METRIC)) is float)


def restore(path: Path, **items: Any) -> Any:
    """Items of a checkpoint; UserError if its files, though as saved, cannot be read."""
    orbax = ocp.Checkpointer(ocp.CompositeCheckpointHandler(), multiprocessing_options=alone())
    with orbax as checkpointer, _reading(path):
        return checkpointer.restore(path, args=ocp.args.Composite(**items))


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Makes a UserError that names the checkpoint of whatever goes wrong."""
    try:
        yield
    except Exception as error:  # each of orbax, tensorstore and json raises its own
        raise UserError(
            f"{path} cannot be read ({reason(error)}); name another run by --workdir, or train anew"
        ) from error


def alone() -> ocp.options.MultiprocessingOptions:
    """Lets orbax wait for no other process."""
    index = jax.process_index()
    return ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
    )


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


def reason(error: Exception) -> str:
    """An error in one short line."""
    text = getattr(error, "strerror", None) or in_one_line(error)
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}…"


def folder_of(workdir: Path) -> Path:
    """Where a workdir has its checkpoints."""
    return (workdir if remote.is_remote(workdir) else workdir.absolute()) / mirror.CHECKPOINTS


def loss(metrics: dict[str, float]) -> float:
    """What makes a checkpoint better than others, if it is lower."""
    return metrics[METRIC]
