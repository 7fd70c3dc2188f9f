"""Makes of a trained model one to pass on: what playing needs, in half the size.

The folder given by --output_dir becomes a workdir like those of runs, with one checkpoint: the best
one's parameters, rounded to bfloat16, its config and its scores, without the state of training.
`sample` and `evaluate` take it as --workdir, `train` as --start_from.

  python -m midijax.export --workdir=runs/mine --output_dir=mine
"""

from pathlib import Path

from absl import flags

from midijax import cli, outputs, remote
from midijax.errors import UserError

FLAGS = flags.FlagValues()
_WORKDIR = flags.DEFINE_string(
    "workdir",
    None,
    "The folder of a trained model; its best checkpoint is taken.",
    flag_values=FLAGS,
)
_OUTPUT_DIR = flags.DEFINE_string(
    "output_dir",
    None,
    "The folder to make, on this machine; it must not hold a model yet.",
    flag_values=FLAGS,
)


def main(arguments: list[str]) -> None:
    """Writes the folder and says how large it is."""
    cli.reject(arguments, FLAGS)
    workdir, folder = _path(_WORKDIR), _path(_OUTPUT_DIR)
    if remote.is_remote(folder):
        raise UserError(f"--output_dir={folder} is in a bucket; name a folder here, and copy it")
    outputs.require_folder("output_dir", folder)

    from midijax import checkpoint, publication  # JAX, after --help and bad flags

    published = publication.publish(checkpoint.load(workdir), folder)
    size = sum(path.stat().st_size for path in published.rglob("*") if path.is_file())
    print(f"{published}: {size / 1e6:.1f} MB")
    print(f"Let it play: python -m midijax.sample --workdir={_OUTPUT_DIR.value}")


def _path(flag: flags.FlagHolder[str | None]) -> Path:
    if flag.value is None:
        raise UserError(f"--{flag.name} is missing; see --help")
    return cli.path(flag.value)


if __name__ == "__main__":
    cli.run(main, FLAGS, __doc__)
