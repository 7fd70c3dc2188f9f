import gzip
import json

import jax
import jax.numpy as jnp
import pytest

from midijax import train
from midijax.profiling import UNTRACED_DISPATCHES, Profile

work = jax.jit(lambda x: jnp.tanh(x @ x))


def written(folder, num_steps, dispatches, steps_per_dispatch=1):
    """After which dispatches the trace was written."""
    with Profile(folder, num_steps) as profile:
        return [
            dispatch
            for dispatch in range(1, dispatches + 1)
            if profile.after_dispatch(steps_per_dispatch, work(jnp.eye(8)))
        ]


def test_traces_the_steps_asked_for_and_perfetto_can_read_them(tmp_path):
    assert written(tmp_path, num_steps=3, dispatches=8) == [UNTRACED_DISPATCHES + 3]
    place = "plugins/profile"
    assert f"`profile/{place}`" in train.FLAGS["profile_steps"].help
    (trace,) = tmp_path.glob(f"{place}/*/perfetto_trace.json.gz")
    names = {
        event.get("name")
        for event in json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    }
    assert any("jit" in str(name) or "dot" in str(name) for name in names)
    assert list(trace.parent.glob("*.xplane.pb"))


@pytest.mark.parametrize(("num_steps", "steps_per_dispatch"), [(4, 4), (5, 4)])
def test_counts_steps_not_dispatches(tmp_path, num_steps, steps_per_dispatch):
    dispatches = -(-num_steps // steps_per_dispatch)
    expected = [UNTRACED_DISPATCHES + dispatches]
    assert written(tmp_path, num_steps, 6, steps_per_dispatch) == expected


def test_a_run_that_ends_early_writes_what_there_is(tmp_path):
    assert written(tmp_path, num_steps=100, dispatches=4) == []
    assert list(tmp_path.rglob("perfetto_trace.json.gz"))


def test_nothing_unless_asked(tmp_path):
    assert written(tmp_path / "profile", num_steps=0, dispatches=4) == []
    assert not (tmp_path / "profile").exists()
