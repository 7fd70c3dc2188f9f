import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midijax import config, config_flags
from midijax.config import Config, DataConfig, ModelConfig, OptimizerConfig
from midijax.controls import Controls
from midijax.errors import UserError
from midijax.events import NOTEBOOK, EventVocabulary


def write(tmp_path, text):
    path = tmp_path / "experiment.py"
    path.write_text(text)
    return path


CONFIG = "from midijax.config import Config\ndef get_config():\n    return Config"


def test_an_experiment_file_is_what_its_get_config_returns(tmp_path):
    path = write(tmp_path, f"{CONFIG}(num_steps=7)\n")
    assert config_flags.load(path) == Config(num_steps=7)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n", r"no get_config\(\)"),
        ("get_config = 3\n", r"no get_config\(\)"),
        ("def get_config():\n    return {'num_steps': 7}\n", "must return"),
        ("def get_config(:\n", "SyntaxError: .*line 1"),
        ("import nowhere\n", "ModuleNotFoundError: .*nowhere"),
        ("def get_config(size):\n    return size\n", "TypeError: .*size"),
        (f"{CONFIG}(num_stepz=7)\n", "TypeError: .*num_stepz"),
        (f"{CONFIG}(num_steps=0)\n", "num_steps=0 must be from 1"),
        ("raise ValueError('one\\ntwo')\n", "ValueError: one two"),
    ],
)
def test_a_file_without_a_config_is_named(tmp_path, text, words):
    with pytest.raises(UserError, match=rf"experiment\.py.*{words}") as error_info:
        config_flags.load(write(tmp_path, text))
    assert "\n" not in str(error_info.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        config_flags.load(tmp_path / "nowhere.py")


def test_overrides_reach_every_depth_and_keep_types():
    overridden = config_flags.override(
        Config(),
        [
            "--config.num_steps=5",
            "--config.sample_seconds=2",
            "--config.model.hidden_size=16",
            "--config.model.dtype=bfloat16",
            "--config.optimizer.learning_rate=1e-4",
            "--config.vocabulary.num_velocity_bins=0",
        ],
    )
    assert overridden.num_steps == 5
    assert type(overridden.sample_seconds) is float
    assert overridden.model == dataclasses.replace(Config().model, hidden_size=16, dtype="bfloat16")
    assert overridden.optimizer.learning_rate == 1e-4
    assert overridden.vocabulary == NOTEBOOK
    assert Config().num_steps != 5


@pytest.mark.parametrize("batch_first", [True, False])
def test_fields_that_must_fit_each_other_change_together(batch_first):
    streams = override_data(Config(), ["batch_size=32", "num_streams=256"])
    words = ["batch_size=48", "num_streams=192"]
    changed = override_data(streams, words if batch_first else words[::-1])
    assert (changed.data.batch_size, changed.data.num_streams) == (48, 192)
    with pytest.raises(UserError, match=r"data\.num_streams=256 must be .*multiple.*48"):
        override_data(streams, words[:1])


def override_data(config, words):
    return config_flags.override(config, [f"--config.data.{word}" for word in words])


def test_the_last_override_wins():
    assert config_flags.override(Config(), ["--config.seed=1", "--config.seed=2"]).seed == 2


def test_nothing_to_override_is_the_same_config():
    assert config_flags.override(Config(), []) == Config()


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("--config.num_stepz=5", "did you mean config.num_steps"),
        ("--config.model.hidden=5", "did you mean config.model.hidden_size"),
        ("--config.num_steps=five", "'five' is not a whole number"),
        ("--config.num_steps=1.5", "'1.5' is not a whole number"),
        ("--config.num_steps=", "'' is not a whole number"),
        ("--config.optimizer.learning_rate=fast", "is not a number"),
        ("--config.model=5", "'model' is a group"),
        ("--config.num_steps.x=5", "'num_steps' is no group"),
        ("--config.model.=5", "no field ''"),
        ("--config.num_steps", "unknown argument"),
        ("--config=", "unknown argument"),
        ("--batch_size=5", "unknown argument '--batch_size=5'"),
        ("music.mid", "unknown argument 'music.mid'"),
    ],
)
def test_a_wrong_override_is_quoted_with_a_cure(assignment, words):
    with pytest.raises(UserError, match=words) as error_info:
        config_flags.override(Config(), [assignment])
    assert assignment in str(error_info.value)


@given(
    num_steps=st.integers(1, config.MAX_STEPS),
    learning_rate=st.floats(0, config.MAX_FACTOR, exclude_min=True),
    name=st.sampled_from(config.OPTIMIZERS),
)
def test_json_gives_back_the_same_config(num_steps, learning_rate, name):
    optimizer = dataclasses.replace(Config().optimizer, learning_rate=learning_rate, name=name)
    original = Config(num_steps=num_steps, optimizer=optimizer)
    assert config.from_json(json.loads(json.dumps(config.to_json(original)))) == original


def test_whole_numbers_are_good_floats_in_json():
    fields = config.to_json(Config())
    fields["optimizer"]["clip_norm"] = 1
    restored = config.from_json(fields)
    assert type(restored.optimizer.clip_norm) is float


@pytest.mark.parametrize(
    ("group", "field", "value", "words"),
    [
        ("model", "num_layers", 3.0, "config.model.num_layers should be of type int"),
        ("model", "num_layers", True, "config.model.num_layers should be of type int"),
        ("model", "dtype", None, "config.model.dtype should be of type str"),
        ("optimizer", "learning_rate", "fast", "learning_rate should be of type float"),
        ("data", "colour", 1, "config.data should hold"),
    ],
)
def test_json_of_another_shape_is_refused(group, field, value, words):
    fields = config.to_json(Config())
    fields[group][field] = value
    with pytest.raises(UserError, match=words):
        config.from_json(fields)


def test_configs_from_before_a_field_have_what_was_so_then():
    fields = config.to_json(Config())
    del fields["model"]["recurrent_dropout_rate"]
    assert config.from_json(fields).model.recurrent_dropout_rate == 0
    del fields["model"]["dropout_rate"]
    with pytest.raises(UserError, match=r"config\.model should hold the fields"):
        config.from_json(fields)


@pytest.mark.parametrize("fields", [{}, [], None, {"num_steps": 5}])
def test_json_that_lacks_fields_is_refused(fields):
    with pytest.raises(UserError, match="config should hold the fields"):
        config.from_json(fields)


def test_a_group_that_is_a_number_is_refused():
    fields = config.to_json(Config()) | {"model": 3}
    with pytest.raises(UserError, match=r"config\.model should hold the fields .* but holds 3"):
        config.from_json(fields)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("group", "fields"),
    [
        (
            ModelConfig,
            {"num_layers": [0, -1], "hidden_size": [0], "dropout_rate": [-0.1, 1.0, NAN]},
        ),
        (ModelConfig, {"recurrent_dropout_rate": [-0.1, 1.0, NAN], "forget_bias": [NAN, INF]}),
        (ModelConfig, {"dtype": ["float64", ""]}),
        (DataConfig, {"batch_size": [0], "sequence_length": [0], "max_transpose": [-1, 128]}),
        (DataConfig, {"max_stretch": [-0.1, 0.91, NAN], "max_performances": [-1]}),
        (OptimizerConfig, {"name": ["adm"], "learning_rate": [0.0, -1.0, NAN, INF]}),
        (DataConfig, {"control_dropout": [-0.1, 1.1, NAN]}),
        (OptimizerConfig, {"schedule": ["linear"], "warmup_steps": [-1]}),
        (OptimizerConfig, {"clip_norm": [-1.0, NAN, INF], "weight_decay": [-1.0, NAN, INF]}),
        (Config, {"num_steps": [0], "eval_every_steps": [0], "checkpoint_every_steps": [0]}),
        (Config, {"log_every_steps": [0], "sample_seconds": [0.0, NAN, INF], "seed": [-1, 2**32]}),
    ],
)
def test_a_value_out_of_range_is_told_with_its_field_and_what_is_allowed(group, fields):
    for field, values in fields.items():
        for value in values:
            with pytest.raises(UserError, match=rf"\.{field}={value} must be ."):
                group(**{field: value})


@pytest.mark.parametrize("numbers", [(0, 100, 32), (100, 0, 32), (100, 100, -1), (100, 100, 128)])
def test_a_vocabulary_out_of_range_is_refused(numbers):
    with pytest.raises(UserError, match=r"^vocabulary\.\w+=-?\d+ must be (at least|from)"):
        EventVocabulary(*numbers)


def test_the_bounds_themselves_are_allowed():
    DataConfig(batch_size=1, sequence_length=1, max_transpose=127, max_stretch=0.9)
    ModelConfig(num_layers=1, hidden_size=1, dropout_rate=0.0, dtype="bfloat16")
    OptimizerConfig(warmup_steps=0, clip_norm=0.0, weight_decay=0.0)
    Config(num_steps=1, log_every_steps=1, seed=2**32 - 1)
    EventVocabulary(1, 1, 127)


def test_values_out_of_range_are_refused_in_files_and_overrides_too():
    with pytest.raises(UserError, match=r"data\.batch_size=0 must be from 1"):
        config_flags.override(Config(), ["--config.data.batch_size=0"])
    with pytest.raises(UserError, match=r"optimizer\.learning_rate=nan must be"):
        config_flags.override(Config(), ["--config.optimizer.learning_rate=nan"])
    fields = config.to_json(Config())
    fields["model"]["hidden_size"] = 0
    with pytest.raises(UserError, match=r"model\.hidden_size=0 must be from 1"):
        config.from_json(fields)


def test_differences_name_the_field_and_both_values():
    ours = config_flags.override(Config(), ["--config.model.num_layers=2", "--config.seed=3"])
    theirs = config_flags.override(Config(), ["--config.model.num_layers=4", "--config.seed=3"])
    assert config.differences(ours, theirs) == ["model.num_layers: 2 here, 4 there"]
    assert config.differences(ours, ours) == []


def test_a_config_can_be_a_key():
    assert hash(Config()) == hash(Config())


def test_names_are_given_with_commas_and_come_back_from_json():
    told = config_flags.override(
        config.TINY,
        ["--config.controls.composers=Clara Schumann, Bach", "--config.controls.enabled=true"],
    )
    assert told.controls == Controls(True, ("Clara Schumann", "Bach"))
    assert config.from_json(json.loads(json.dumps(config.to_json(told)))) == told
    with pytest.raises(UserError, match="should be of type str but is 3"):
        fields = config.to_json(told)
        fields["controls"]["composers"] = ["Bach", 3]
        config.from_json(fields)
