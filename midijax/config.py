"""What a run is: frozen dataclasses, written once, saved with every checkpoint.

Each raises UserError for a value out of its range.
"""

import dataclasses
import typing
from pathlib import Path
from typing import Any

from midijax.controls import Controls
from midijax.errors import UserError, require
from midijax.events import OORE_2018, PERFORMANCE_RNN, EventVocabulary
from midijax.performance import NUM_PITCHES

DTYPES = ("float32", "bfloat16")
OPTIMIZERS = ("adam", "adamw", "rmsprop", "sgd")  # by their names in optax
SCHEDULES = ("constant", "cosine", "trapezoid")
MAX_LAYERS, MAX_HIDDEN_SIZE, MAX_WINDOWS = 100, 2**16, 2**20  # a typing error beyond these
MAX_STEPS = 2**31 - 1  # int32 on the device
MAX_FACTOR = 1_000_000  # of rates, norms and biases
MAX_SEED = 2**32 - 1
MAX_STRETCH = 0.9
MAX_SAMPLE_SECONDS = 3600


def _in_range(group: str, node: Any, fields: str, least: float, most: float) -> None:
    """Refuses fields (names parted by spaces) out of their range, and NaN."""
    for field in fields.split():
        value = getattr(node, field)
        require(least <= value <= most, f"{group}.{field}", value, f"from {least} to {most}")


def _one_of(names: tuple[str, ...], field: str, name: str) -> None:
    require(name in names, field, name, f"one of {', '.join(names)}")


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network.

    Attributes:
      num_layers: LSTM layers, one on top of the other.
      hidden_size: width of the embedding and of every layer.
      dropout_rate: share of the activations dropped between layers while training.
      recurrent_dropout_rate: share of the weights from each layer's last step to its next that are
        left out, others at every training step (weight drop, Merity et al. 2018).
      forget_bias: start value of the forget gates' bias; 1 lets memories last from the start.
      dtype: type of the matrix products, one of DTYPES; parameters stay float32.
      residual: each layer adds to its inputs and sees them normalized, as does the head; else they
        are simply stacked, as in the paper.
      remat: compute gates again for the gradients rather than keep them: for long windows that do
        not fit in memory, at some cost in time.
    """

    num_layers: int = 3
    hidden_size: int = 512
    dropout_rate: float = 0.1
    recurrent_dropout_rate: float = 0.0
    forget_bias: float = 1.0
    residual: bool = False
    dtype: str = "float32"
    remat: bool = False

    def __post_init__(self) -> None:
        _in_range("model", self, "num_layers", 1, MAX_LAYERS)
        _in_range("model", self, "hidden_size", 1, MAX_HIDDEN_SIZE)
        _in_range("model", self, "forget_bias", -MAX_FACTOR, MAX_FACTOR)
        for name in ("dropout_rate", "recurrent_dropout_rate"):
            rate = getattr(self, name)
            require(0 <= rate < 1, f"model.{name}", rate, "from 0 to below 1")
        _one_of(DTYPES, "model.dtype", self.dtype)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """How training windows are cut.

    Attributes:
      batch_size: windows per step, over all devices and hosts.
      sequence_length: events per window.
      num_streams: if not 0, so many streams of windows run through whole performances, each window
        from the state that the one before it ended in, with one transposition and stretch for all
        of a performance; a step takes `batch_size` of the streams, in turn. More streams, more
        different music in steps that follow one another; of a small corpus there are fewer. If 0,
        each window is cut anywhere and starts from nothing.
      max_transpose: each window is moved by up to this many semitones up or down.
      max_stretch: each window is slowed down or sped up by up to this share (0.05: 5 %).
      max_performances: train on this many performances, drawn by the run's seed; 0 takes all.
      control_dropout: the share of windows that leave out a control, drawn for each control.
    """

    batch_size: int = 64
    sequence_length: int = 256
    num_streams: int = 0
    max_transpose: int = 3
    max_stretch: float = 0.05
    max_performances: int = 0
    control_dropout: float = 0.5

    def __post_init__(self) -> None:
        _in_range("data", self, "batch_size sequence_length", 1, MAX_WINDOWS)
        is_allowed = (
            0 <= self.num_streams <= MAX_WINDOWS and self.num_streams % self.batch_size == 0
        )
        allowed = f"0 or a multiple of data.batch_size={self.batch_size}, at most {MAX_WINDOWS}"
        require(is_allowed, "data.num_streams", self.num_streams, allowed)
        _in_range("data", self, "max_performances", 0, MAX_STEPS)
        _in_range("data", self, "max_transpose", 0, NUM_PITCHES - 1)
        _in_range("data", self, "max_stretch", 0, MAX_STRETCH)
        _in_range("data", self, "control_dropout", 0, 1)


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters follow gradients.

    Attributes:
      name: one of OPTIMIZERS.
      learning_rate: the highest rate.
      schedule: "constant"; "cosine": down to a tenth over the run; or "trapezoid": constant up to
        the last fifth of the run, and in that down to nothing, in a line.
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

    def __post_init__(self) -> None:
        _one_of(OPTIMIZERS, "optimizer.name", self.name)
        _one_of(SCHEDULES, "optimizer.schedule", self.schedule)
        rate = self.learning_rate
        allowed = f"above 0 and at most {MAX_FACTOR}"
        require(0 < rate <= MAX_FACTOR, "optimizer.learning_rate", rate, allowed)
        _in_range("optimizer", self, "warmup_steps", 0, MAX_STEPS)
        _in_range("optimizer", self, "clip_norm weight_decay", 0, MAX_FACTOR)


@dataclasses.dataclass(frozen=True)
class Config:
    """One run: everything but the folders it reads and writes.

    Attributes:
      num_steps: optimizer steps.
      eval_every_steps: validate and write a sample this often, and at the end.
      checkpoint_every_steps: save this often, and at the end.
      log_every_steps: one line of metrics this often.
      steps_per_dispatch: steps that the device takes in one go, the host waiting for none of them;
        of the four numbers above each must be a multiple. A run stops between dispatches.
      max_skipped_in_a_row: an update whose loss or gradient is not finite is left out; after more
        than so many in a row the run goes back, or stops.
      max_roll_backs: how often it goes back to its latest checkpoint, and on with the next data,
        before it stops.
      sample_seconds: length of the music written at each evaluation.
      seed: of the initial parameters, the data order, dropout and the samples.
    """

    vocabulary: EventVocabulary = OORE_2018
    controls: Controls = Controls()
    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    num_steps: int = 10_000
    eval_every_steps: int = 1_000
    checkpoint_every_steps: int = 500
    log_every_steps: int = 10
    steps_per_dispatch: int = 1
    max_skipped_in_a_row: int = 10
    max_roll_backs: int = 0
    sample_seconds: float = 30.0
    seed: int = 0

    def __post_init__(self) -> None:
        every = "eval_every_steps checkpoint_every_steps log_every_steps"
        _in_range("config", self, f"num_steps {every} steps_per_dispatch", 1, MAX_STEPS)
        for field in ("num_steps", *every.split()):
            value, divisor = getattr(self, field), self.steps_per_dispatch
            allowed = f"a multiple of config.steps_per_dispatch={divisor}"
            require(value % divisor == 0, f"config.{field}", value, allowed)
        _in_range("config", self, "max_skipped_in_a_row max_roll_backs", 0, MAX_STEPS)
        _in_range("config", self, "seed", 0, MAX_SEED)
        in_range = 0 < self.sample_seconds <= MAX_SAMPLE_SECONDS
        allowed = f"above 0 and at most {MAX_SAMPLE_SECONDS}"
        require(in_range, "config.sample_seconds", self.sample_seconds, allowed)


# Fields that configs of older runs lack, and what they would have had there.
_LATER_FIELDS: dict[type, dict[str, Any]] = {ModelConfig: {"recurrent_dropout_rate": 0.0}}

DEFAULT_WORKDIR = "runs/tiny"  # of commands that are not told another, but for `sample`
SHIPPED_WORKDIR = Path(__file__).parents[1] / "checkpoints" / "performance_rnn"

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


def to_json(config: Config) -> dict[str, Any]:
    """The config as nested plain dictionaries."""
    return dataclasses.asdict(config)


def from_json(fields: dict[str, Any]) -> Config:
    """The inverse of `to_json`; raises UserError if a field is missing, unknown or wrong."""
    return _build(Config, fields, "config")


def differences(ours: Config, theirs: Config) -> list[str]:
    """One line for each field that differs, both values named."""
    flat_ours, flat_theirs = _flatten(to_json(ours)), _flatten(to_json(theirs))
    return [
        f"{name}: {flat_ours[name]} here, {flat_theirs[name]} there"
        for name in flat_ours
        if flat_ours[name] != flat_theirs[name]
    ]


def _build(cls: type, fields: Any, name: str) -> Any:
    hints = typing.get_type_hints(cls)
    if isinstance(fields, dict):
        fields = _LATER_FIELDS.get(cls, {}) | fields
    if not isinstance(fields, dict) or fields.keys() != hints.keys():
        got = sorted(fields) if isinstance(fields, dict) else fields
        raise UserError(f"{name} should hold the fields {sorted(hints)} but holds {got}")
    return cls(**{key: _value(hints[key], fields[key], f"{name}.{key}") for key in hints})


def _value(hint: type, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name)
    if hint is float and type(value) is int:
        return float(value)
    if hint == tuple[str, ...] and isinstance(value, list | tuple):
        return tuple(_value(str, text, name) for text in value)
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
