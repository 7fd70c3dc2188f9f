"""The trained model that a check lets play and the corpus it is held against, by flags."""

from pathlib import Path

from absl import flags

from midijax import checkpoint, cli, mirror
from midijax.checkpoint import Loaded
from midijax.compilation import enable_compile_cache
from midijax.config import SHIPPED_WORKDIR
from midijax.errors import UserError


def define_workdir(flag_values: flags.FlagValues) -> None:
    """Adds --workdir, the shipped model if it is not given."""
    flags.DEFINE_string(
        "workdir",
        str(SHIPPED_WORKDIR),
        "The folder of a trained model.",
        flag_values=flag_values,
    )


def define_data(flag_values: flags.FlagValues, what: str) -> None:
    """Adds --data, a corpus of which `what` says what it must have."""
    flags.DEFINE_string(
        "data", None, f"A corpus made by midijax.prepare, {what}.", flag_values=flag_values
    )


def load(flag_values: flags.FlagValues) -> Loaded:
    """The best checkpoint of --workdir."""
    enable_compile_cache()
    return checkpoint.load(cli.path(str(flag_values["workdir"].value)))


def corpus_folder(flag_values: flags.FlagValues) -> Path:
    """The folder of --data, fetched if it is in a bucket; UserError if it is not given."""
    given = flag_values["data"].value
    if not given:
        raise UserError("--data is needed: a corpus made by midijax.prepare")
    return mirror.fetched(cli.path(given))
