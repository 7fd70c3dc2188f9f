"""`python -m midijax.prepare`, its processes started anew in every turn."""

import tempfile

import serve

from midijax import prepare


def work() -> int:
    """Prepares all files; returns how many."""
    settings = serve.settings()
    with tempfile.TemporaryDirectory() as folder:
        output, processes = (
            f"--output_dir={folder}/out",
            f"--num_workers={settings['num_processes']}",
        )
        prepare.FLAGS(["prepare", f"--input={settings['folder']}", output, processes])
        prepare.main([])
    return settings["num_files"]


if __name__ == "__main__":  # the processes that parse files import this one
    serve.serve(work)
