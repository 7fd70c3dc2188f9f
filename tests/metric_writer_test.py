import json

import pytest

from midijax.errors import UserError
from midijax.metric_writer import MetricWriter


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_appends_a_line_per_call(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(1, loss=2.5)
        writer.write(2, loss=2.25, learning_rate=0.1)
        first, second = lines(tmp_path)
    assert list(first) == ["step", "host", "time", "loss"]
    assert (first["step"], first["host"], first["loss"]) == (1, 0, 2.5)
    assert (second["loss"], second["learning_rate"]) == (2.25, 0.1)


def test_a_value_that_is_not_finite_is_null(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(1, loss=float("nan"), gradient_norm=float("inf"), skipped=1)
    (line,) = lines(tmp_path)
    assert (line["loss"], line["gradient_norm"], line["skipped"]) == (None, None, 1)


def test_a_resumed_run_drops_the_lines_past_its_checkpoint_and_the_torn_one(tmp_path):
    with MetricWriter(tmp_path, 0) as writer:
        for step in range(1, 6):
            writer.write(step, loss=float(step))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "lo')
    with MetricWriter(tmp_path, 3) as writer:
        writer.write(4, loss=40.0)
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (1, 1.0),
        (2, 2.0),
        (3, 3.0),
        (4, 40.0),
    ]


def test_writes_for_tensorboard_where_it_is_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    with MetricWriter(tmp_path, 0) as writer:
        writer.write(1, loss=2.5)
    assert any((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"3",
        b"[]",
        b'{"loss": 1}',
        b'{"step": "2"}',
        b'{"step": null}',
        b'{"step": 2\xff}',
    ],
)
def test_a_damaged_line_is_named(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    content = b'{"step": 1, "loss": NaN}\n' + damaged + b'\n{"step": 3}\n'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: .* mend or delete that line"):
        MetricWriter(tmp_path, 3)
    assert path.read_bytes() == content


def test_what_is_kept_stays_as_it_was(tmp_path):
    path = tmp_path / "metrics.jsonl"
    content = '{"step": 1, "loss": NaN}\n{"note": "\u00e9tude\u2028", "step": 2}\n'
    path.write_text(content, "utf-8")
    with MetricWriter(tmp_path, 2):
        pass
    assert path.read_text("utf-8") == content
