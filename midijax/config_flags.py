"""A config as the command line names it: an experiment file, and fields set one by one."""

import dataclasses
import difflib
import functools
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midijax.config import Config, from_json, to_json
from midijax.errors import UserError, in_one_line


def load(path: str | Path) -> Config:
    """Runs an experiment file and returns what its `get_config()` gives.

    Raises UserError with the file's name for whatever goes wrong in it.
    """
    if not Path(path).is_file():
        raise UserError(f"--config={path} is no file; the experiments lie in experiments/*.py")
    get_config = _attempt(path, functools.partial(runpy.run_path, str(path))).get("get_config")
    if not callable(get_config):
        raise UserError(f"{path} defines no get_config(); see experiments/tiny.py for the form")
    config = _attempt(path, get_config)
    if not isinstance(config, Config):
        raise UserError(f"{path}: get_config() must return a midijax.config.Config")
    return config


def _attempt(path: str | Path, function: Callable[[], Any]) -> Any:
    """What a function of the user's gives; its errors become one sentence."""
    try:
        return function()
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except Exception as error:
        reason = in_one_line(error)
        raise UserError(f"{path}: {type(error).__name__}: {reason}") from error


def override(config: Config, assignments: list[str]) -> Config:
    """Applies command-line words of the form `--config.model.hidden_size=256`, all at once."""
    fields = to_json(config)
    for assignment in assignments:
        name, equals, text = assignment.removeprefix("--").partition("=")
        prefix, _, field = name.partition(".")
        if prefix != "config" or not equals or not field:
            raise UserError(
                f"unknown argument '{assignment}'; --help lists the flags, "
                "and a field of the config is set by --config.FIELD=VALUE"
            )
        _assign(fields, field.split("."), text, assignment)
    return from_json(fields)


def _assign(fields: dict[str, Any], path: list[str], text: str, assignment: str) -> None:
    field, rest = path[0], path[1:]
    if field not in fields:
        near = _nearest(path[-1])
        raise UserError(f"{assignment}: there is no field '{field}'; did you mean config.{near}?")
    value = fields[field]
    if isinstance(value, dict) != bool(rest):
        raise UserError(f"{assignment}: '{field}' is {'a group' if not rest else 'no group'}")
    if rest:
        _assign(value, rest, text, assignment)
    else:
        fields[field] = _parse(value, text, assignment)


def _nearest(field: str) -> str:
    """The config's field whose name is most like `field`, with its group."""
    by_name: dict[str, str] = {}
    for group in dataclasses.fields(Config):
        by_name[group.name] = group.name
        for member in getattr(group.default, "__dataclass_fields__", ()):
            by_name[member] = f"{group.name}.{member}"
    return by_name[difflib.get_close_matches(field, by_name, n=1, cutoff=0.0)[0]]


_TYPE_NAMES = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _parse(old: Any, text: str, assignment: str) -> Any:
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, tuple):
            return tuple(name.strip() for name in text.split(",") if name.strip())
        return type(old)(text)
    except (ValueError, KeyError):
        raise UserError(f"{assignment}: '{text}' is not {_TYPE_NAMES[type(old)]}") from None
