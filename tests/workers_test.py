import subprocess
import sys

UNTAKEN = "from midijax import workers; workers.new_pool(1)._call_queue.put(bytes(10**7))"


def test_an_exit_does_not_wait_for_work_that_no_process_takes():
    subprocess.run([sys.executable, "-c", UNTAKEN], timeout=60, check=True)
