"""A model as it is passed on: a workdir that holds what playing needs and no more."""

from pathlib import Path

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from midijax import checkpoint, checksums, workdir
from midijax.atomic import new_folder
from midijax.checkpoint import Loaded
from midijax.errors import UserError

_SAVED_TO = "commit_success.txt"  # of orbax: the path that a checkpoint was saved to


def publish(loaded: Loaded, folder: Path) -> Path:
    """Writes a checkpoint's parameters, in bfloat16, its config and its scores; returns its path.

    Raises UserError if the folder holds checkpoints already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoint.folder_of(folder).exists():
        raise UserError(f"--output_dir={folder} holds a model already; take another folder")
    with new_folder(checkpoint.folder_of(folder)) as partial:
        path = partial / str(loaded.step)
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), loaded.params)
        run = checkpoint.read_run(loaded.path) | {"position": None}
        items = ocp.args.Composite(params=ocp.args.StandardSave(params), run=ocp.args.JsonSave(run))
        handler = ocp.CompositeCheckpointHandler()
        with ocp.Checkpointer(handler, multiprocessing_options=checkpoint.alone()) as checkpointer:
            checkpointer.save(path.absolute(), items)
        for note in path.rglob(_SAVED_TO):
            note.unlink()
        checksums.write(path)
    workdir.describe(folder, loaded.config)
    return checkpoint.folder_of(folder) / str(loaded.step)
