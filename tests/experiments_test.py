"""The configs that come with midijax, and the check of what is generated."""

import jax
import mido
import pytest

from midijax import config_flags, model

ON = mido.Message("note_on", note=60, velocity=60)
OFF = mido.Message("note_off", note=60, time=500)
WHOLE = [ON, OFF, ON, OFF]  # the second begins when the first ends
FAULTY = {
    "note-offs without a note": ([ON, OFF, OFF], ["mido"]),
    "notes of a pitch that sounds already": ([ON, ON, OFF, OFF], ["mido", "symusic"]),
    "notes never released": ([ON, OFF, ON], ["mido"]),
    "notes of no length": ([ON, OFF.copy(time=0)], ["mido", "symusic"]),
    "notes too long": ([ON, OFF.copy(time=2100)], ["mido", "symusic"]),
}


def test_every_experiment_gives_a_config_and_its_model(experiments):
    for path in experiments.glob("*.py"):
        config = config_flags.load(path)
        network = model.from_config(config)
        params = jax.eval_shape(lambda key, of=network: model.init(of, key), jax.random.key(0))
        size = config.model.hidden_size
        assert any(size in x.shape for x in jax.tree.leaves(params)), path


@pytest.fixture
def write(tmp_path):
    """Writes the messages, 1000 ticks a second, to x.mid."""

    def write(messages):
        track = mido.MidiTrack(messages)
        mido.MidiFile(type=0, ticks_per_beat=500, tracks=[track]).save(tmp_path / "x.mid")

    return write


@pytest.mark.parametrize("fault", FAULTY)
def test_each_fault_is_found(verify_generated, run_command, write, tmp_path, fault):
    messages, readers = FAULTY[fault]
    write([*WHOLE, *messages])
    found = verify_generated.check(tmp_path / "x.mid", max_note_seconds=2.0)
    assert [reader for reader in found if found[reader][fault]] == readers
    code, out, _ = run_command(verify_generated, f"--input={tmp_path}", "--max_note_seconds=2")
    assert code == 1
    assert f"| {fault} | 1 | {int('symusic' in readers)} |" in out


def test_good_files_pass(verify_generated, run_command, write, tmp_path):
    write(WHOLE)
    code, out, _ = run_command(verify_generated, f"--input={tmp_path}", "--max_note_seconds=0.5")
    assert code == 0
    assert out.splitlines()[0] == "| 1 files | mido | symusic |"
    assert out.count("| 0 | 0 |") == len(FAULTY)
