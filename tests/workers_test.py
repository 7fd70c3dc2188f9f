import subprocess
import sys

UNTAKEN = "from midijax import workers; workers.new_pool(1)._call_queue.put(bytes(10**7))"


def test_an_exit_does_not_wait_for_work_that_no_process_takes():
    subprocess.run([sys.executable, "-c", UNTAKEN], timeout=60, check=True)


INTERRUPTED_AT_ONCE = """
import os, signal
from midijax import workers
if __name__ == "__main__":
    with workers.new_pool(1) as pool:
        print(pool.submit(abs, -1).result())
else:  # a process of the pool, which has hardly begun
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_ctrl_c_does_not_reach_a_process_that_begins(tmp_path):
    (tmp_path / "program.py").write_text(INTERRUPTED_AT_ONCE)
    command = [sys.executable, tmp_path / "program.py"]
    finished = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "1\n", "")


CTRL_C_WHILE_A_PROCESS_BEGINS = """
import signal
from midijax import workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever was inherited
with workers.held_back(signal.SIGINT):
    signal.raise_signal(signal.SIGINT)
    print("held back")
"""


def test_ctrl_c_is_heard_once_the_process_has_begun():
    command = [sys.executable, "-c", CTRL_C_WHILE_A_PROCESS_BEGINS]
    finished = subprocess.run(command, timeout=60, capture_output=True, text=True)
    assert finished.stdout == "held back\n"
    assert "KeyboardInterrupt" in finished.stderr
