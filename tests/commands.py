"""Commands run in the tests' own process."""

from midijax import prepare


def forget_flags(command):
    """Sets a command module's flags to their defaults."""
    for name in command.FLAGS:
        command.FLAGS[name].unparse()


def run_prepare(*arguments):
    """Runs midijax.prepare on one process; returns its exit code, raises what it raises."""
    forget_flags(prepare)
    prepare.FLAGS(["prepare", "--num_workers=1", *arguments])
    return prepare.main([])


def contents(folder):
    """The bytes of each file in a folder, by its name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
