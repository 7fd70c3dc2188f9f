"""What a run is: frozen dataclasses, written once, saved with every checkpoint."""

import dataclasses
import difflib
import runpy
import typing
from pathlib import Path
from typing import Any

from midijax.errors import UserError
from midijax.events import OORE_2018, PERFORMANCE_RNN, EventVocabulary


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
      num_layers: LSTM layers, one on top of the other.
      hidden_size: width of the embedding and of every layer.
      dropout_rate: share of the activations dropped between layers while training.
      forget_bias: start value of the forget gates' bias; 1 lets memories last from the start.
      dtype: type of the matrix products, "float32" or "bfloat16"; parameters stay float32.
    """

    num_layers: int = 3
    hidden_size: int = 512
    dropout_rate: float = 0.1
    forget_bias: float = 1.0
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How training windows are cut.

    Attributes:
      batch_size: windows per step, over all devices and hosts.
      sequence_length: events per window.
      max_transpose: each window is moved by up to this many semitones up or down.
      max_stretch: each window is slowed down or sped up by up to this share (0.05: 5 %).
      max_performances: train on this many performances, drawn by the run's seed; 0 takes all.
    """

    batch_size: int = 64
    sequence_length: int = 256
    max_transpose: int = 3
    max_stretch: float = 0.05
    max_performances: int = 0


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow gradients.

    Attributes:
      name: "adam", "adamw", "rmsprop" or "sgd".
      learning_rate: the highest rate.
      schedule: "constant", or "cosine": down to a tenth over the run.
      warmup_steps: steps of linear rise to `learning_rate`.
      clip_norm: gradients longer than this are shortened to it; 0 leaves them.
      weight_decay: for adamw.
    """

    name: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "cosine"
    warmup_steps: int = 100
    clip_norm: float = 1.0
    weight_decay: float = 0.0


@dataclasses.dataclass(frozen=True)
class Config:
    """One run: everything but the folders it reads and writes.

    Attributes:
      num_steps: optimizer steps.
      eval_every_steps: validate and write a sample this often, and at the end.
      checkpoint_every_steps: save this often, and at the end.
      log_every_steps: one line of metrics this often.
      sample_seconds: length of the music written at each evaluation.
      seed: of the initial parameters, the data order, dropout and the samples.
    """

    vocabulary: EventVocabulary = OORE_2018
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    num_steps: int = 10_000
    eval_every_steps: int = 1_000
    checkpoint_every_steps: int = 500
    log_every_steps: int = 10
    sample_seconds: float = 30.0
    seed: int = 0


DEFAULT_WORKDIR = "runs/tiny"  # of every command that is not told another

TINY = Config(
    vocabulary=PERFORMANCE_RNN,
    model=ModelConfig(num_layers=2, hidden_size=128, dropout_rate=0.0),
    data=DataConfig(batch_size=16, sequence_length=128),
    optimizer=OptimizerConfig(learning_rate=4e-3, warmup_steps=50),
    num_steps=1_200,
    eval_every_steps=400,
    checkpoint_every_steps=200,
    sample_seconds=20.0,
)


def load(path: str | Path) -> Config:
    """Runs an experiment file and returns what its `get_config()` gives."""
    if not Path(path).is_file():
        raise UserError(f"--config={path} is no file; the experiments lie in experiments/*.py")
    namespace = runpy.run_path(str(path))
    if not callable(namespace.get("get_config")):
        raise UserError(f"{path} defines no get_config(); see experiments/tiny.py for the form")
    config = namespace["get_config"]()
    if not isinstance(config, Config):
        raise UserError(f"{path}: get_config() must return a midijax.config.Config")
    return config


def override(config: Config, assignments: list[str]) -> Config:
    """Applies command-line words of the form `--config.model.hidden_size=256`."""
    for assignment in assignments:
        name, equals, text = assignment.removeprefix("--").partition("=")
        prefix, _, field = name.partition(".")
        if prefix != "config" or not equals or not field:
            raise UserError(
                f"unknown argument '{assignment}'; --help lists the flags, "
                "and a field of the config is set by --config.FIELD=VALUE"
            )
        config = _replace(config, field.split("."), text, assignment)
    return config


def to_json(config: Config) -> dict[str, Any]:
    """The config as nested plain dictionaries."""
    return dataclasses.asdict(config)


def from_json(fields: dict[str, Any]) -> Config:
    """The inverse of `to_json`; raises UserError if a field is missing, unknown or of wrong type."""
    return _build(Config, fields, "config")


def differences(ours: Config, theirs: Config) -> list[str]:
    """One line for each field that differs, both values named."""
    flat_ours, flat_theirs = _flatten(to_json(ours)), _flatten(to_json(theirs))
    return [
        f"{name}: {flat_ours[name]} here, {flat_theirs[name]} there"
        for name in flat_ours
        if flat_ours[name] != flat_theirs[name]
    ]


def _replace(node: Any, path: list[str], text: str, assignment: str) -> Any:
    field, rest = path[0], path[1:]
    types_by_name = typing.get_type_hints(type(node))
    if field not in types_by_name:
        near = difflib.get_close_matches(field, types_by_name, n=1) or sorted(types_by_name)
        raise UserError(f"{assignment}: there is no field '{field}'; did you mean {near[0]}?")
    value = getattr(node, field)
    if dataclasses.is_dataclass(value) != bool(rest):
        raise UserError(f"{assignment}: '{field}' is {'a group' if not rest else 'no group'}")
    new = _replace(value, rest, text, assignment) if rest else _parse(value, text, assignment)
    return dataclasses.replace(node, **{field: new})


def _parse(old: Any, text: str, assignment: str) -> Any:
    try:
        return type(old)(text)
    except ValueError:
        raise UserError(f"{assignment}: '{text}' is no {type(old).__name__}") from None


def _build(cls: type, fields: Any, name: str) -> Any:
    hints = typing.get_type_hints(cls)
    if not isinstance(fields, dict) or fields.keys() != hints.keys():
        got = sorted(fields) if isinstance(fields, dict) else fields
        raise UserError(f"{name} should hold the fields {sorted(hints)} but holds {got}")
    return cls(**{key: _value(hints[key], fields[key], f"{name}.{key}") for key in hints})


def _value(hint: type, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise UserError(f"{name} should be of type {hint.__name__} but is {value!r}")
    return value


def _flatten(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
