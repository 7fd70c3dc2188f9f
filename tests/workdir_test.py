import json
import subprocess
import sys

import pytest

from midijax import config, workdir
from midijax.errors import UserError

HOLD = "import pathlib, sys; from midijax import workdir\n"
HOLD += "with workdir.held(pathlib.Path(sys.argv[1])): print('held', flush=True); input()"


def test_another_process_is_kept_out_and_told_by_whom_until_that_one_ends(tmp_path):
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        said = rf"is in use by another run \(process {holder.pid} on "
        with pytest.raises(UserError, match=said), workdir.held(tmp_path):
            pass
        holder.kill()
    with workdir.held(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named():
    with (
        pytest.raises(UserError, match=r"--workdir=/proc/x cannot be written to"),
        workdir.held(workdir.Path("/proc/x")),
    ):
        pass


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path):
    with pytest.raises(UserError, match="no text in UTF-8"), workdir.held(tmp_path / "\udcff"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_folder_explains_itself(tmp_path):
    workdir.describe(tmp_path, config.TINY)
    assert config.from_json(json.loads((tmp_path / "config.json").read_text())) == config.TINY
    assert {"jax", "python"} <= json.loads((tmp_path / "versions.json").read_text()).keys()
