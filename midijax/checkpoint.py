"""Checkpoints on disk: the only file that knows orbax.

A workdir holds `checkpoints/STEP/{params,optimizer,data,run}`: the items are apart, so that a
sampler reads the parameters alone. A checkpoint is complete or absent.
"""

import dataclasses
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from midijax import config as config_lib
from midijax import model as model_lib
from midijax.config import Config
from midijax.errors import UserError

METRIC = "nats_per_event"  # of the validation split; the best checkpoint has the lowest


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
    """The checkpoints of one run: the latest and the best are kept.

    Attributes:
      config: the run's config, saved with every checkpoint.
      corpus: the fingerprint of what the run trains on, saved likewise.
    """

    def __init__(self, workdir: str | Path, config: Config, corpus: str):
        """Opens (or makes) the workdir's checkpoint folder."""
        self.config = config
        self.corpus = corpus
        self._manager = ocp.CheckpointManager(
            _folder(workdir),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(1), _BEST]),
                best_fn=_loss,  # without it orbax keeps no metrics on disk
                best_mode="min",
                enable_async_checkpointing=False,
            ),
        )

    def save(
        self,
        step: int,
        params: Any,
        optimizer: Any,
        data: grain.DatasetIterator,
        metrics: dict[str, float] | None = None,
    ) -> None:
        """Writes a checkpoint; `metrics` of the validation split if this step was validated."""
        run = {"config": config_lib.to_json(self.config), "corpus": self.corpus}
        items = ocp.args.Composite(
            params=ocp.args.StandardSave(params),
            optimizer=ocp.args.StandardSave(optimizer),
            data=grain.checkpoint.CheckpointSave(data),
            run=ocp.args.JsonSave(run),
        )
        self._manager.save(step, args=items, metrics=metrics)

    def restore(
        self, params: Any, optimizer: Any, data: grain.DatasetIterator
    ) -> tuple[int, Any, Any] | None:
        """The latest step with its parameters and optimizer state; moves `data` to its position.

        `params` and `optimizer` say the shapes and shardings wanted. None if nothing is saved yet.
        Raises UserError if the run there has another config or trains on other data.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        self._check_same_run(step)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardRestore(params),
                optimizer=ocp.args.StandardRestore(optimizer),
                data=grain.checkpoint.CheckpointRestore(data),
            ),
        )
        return step, restored["params"], restored["optimizer"]

    def close(self) -> None:
        """Waits for what is being written."""
        self._manager.close()

    def _check_same_run(self, step: int) -> None:
        run = _read_run(self._manager, step)
        folder = self._manager.directory
        differing = config_lib.differences(self.config, config_lib.from_json(run["config"]))
        if differing:
            raise UserError(
                f"{folder} belongs to a run of another config ({'; '.join(differing)}); "
                "a run keeps its config, its number of steps too: give the same, or take another "
                "--workdir"
            )
        if run["corpus"] != self.corpus:
            raise UserError(
                f"{folder} belongs to a run on other data; "
                "give the same --data, or another --workdir"
            )


def load(workdir: str | Path) -> Loaded:
    """The best checkpoint of a run, or the latest if none was validated; UserError if none."""
    folder = _folder(workdir)
    if not folder.is_dir():
        raise UserError(
            f"'{workdir}' holds no checkpoint; train one with: "
            f"python -m midijax.train --workdir={workdir}"
        )
    options = ocp.CheckpointManagerOptions(best_fn=_loss, best_mode="min", create=False)
    with ocp.CheckpointManager(folder, options=options) as manager:
        step = manager.best_step()
        if step is None:
            step = manager.latest_step()
        if step is None:
            raise UserError(f"{folder} holds no complete checkpoint yet; let the training go on")
        config = config_lib.from_json(_read_run(manager, step)["config"])
        wanted = _wanted(config, folder / str(step))
        params = manager.restore(
            step, args=ocp.args.Composite(params=ocp.args.StandardRestore(wanted))
        )["params"]
    return Loaded(config, params, step, folder / str(step))


def _wanted(config: Config, path: Path) -> Any:
    """What to restore of a checkpoint on this device; UserError if it is not what it should be."""
    model = model_lib.from_config(config)
    shapes = jax.eval_shape(lambda key: model_lib.init(model, key), jax.random.key(0))
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


def _folder(workdir: str | Path) -> Path:
    return Path(workdir).absolute() / "checkpoints"


def _loss(metrics: dict[str, float]) -> float:
    return metrics[METRIC]


def _read_run(manager: ocp.CheckpointManager, step: int) -> dict[str, Any]:
    return manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]


_BEST = policies.BestN(
    get_metric_fn=_loss, reverse=True, n=1, keep_checkpoints_without_metrics=False
)
