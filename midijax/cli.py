"""What the commands share: flags, help, and errors told in one sentence."""

import ast
import difflib
import importlib.util
import io
import logging as std_logging
import math
import os
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import flags, logging

from midijax import remote
from midijax.errors import TryAgain, UserError
from midijax.stopping import TRY_AGAIN

BAD_INPUT = 2
INTERRUPTED = 130  # what shells report of a program that Ctrl-C ended
HELP_WIDTH = 96


def run(main: Callable[[list[str]], int | None], flag_values: flags.FlagValues, doc: str) -> None:
    """Parses the command line, calls `main(arguments)` and leaves with its exit code.

    Args:
      main: the command. It gets what is not one of its flags, in order, and returns an exit code.
      flag_values: the command's own flags, a set apart from absl's global one so that commands can
        share names and `--help` shows nothing else.
      doc: what `--help` prints before the flags.

    A `UserError`, like a flag that does not parse, is printed as one sentence with exit code 2, or
    75 if to try again may help; after Ctrl-C the code is 130. What libraries log is not shown: the
    sentence has their reason.
    """
    for library in ("asyncio", "matplotlib"):
        std_logging.getLogger(library).setLevel(std_logging.CRITICAL)
    logging.set_verbosity(logging.FATAL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names of files need not be text
    try:
        if {"--help", "-h", "-help", "--helpfull"} & set(sys.argv[1:]):
            print(help_text(flag_values, doc))
            sys.exit(0)
        code = main(_parse(flag_values))
        sys.stdout.flush()
    except (UserError, flags.Error) as error:
        print(f"{_command_name()}: {error}", file=sys.stderr)
        sys.exit(exit_code(error))
    except KeyboardInterrupt as error:
        print(f"{_command_name()}: stopped", file=sys.stderr)
        sys.exit(exit_code(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(code or 0)


def exit_code(error: BaseException) -> int:
    """What a command that ends with this error leaves with."""
    if isinstance(error, TryAgain):
        return TRY_AGAIN
    if isinstance(error, UserError | flags.Error):
        return BAD_INPUT
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1


def reject(arguments: list[str], known: Iterable[str]) -> None:
    """Raises UserError if the command line held something the command does not know.

    `known`: the names of what it knows, one of which may have been meant.
    """
    if arguments:
        name = arguments[0].lstrip("-").partition("=")[0]
        near = difflib.get_close_matches(name, known, n=1)
        cure = f"did you mean --{near[0]}?" if near else "--help lists what there is"
        raise UserError(f"unknown argument '{arguments[0]}'; {cure}")


def path(text: str) -> Path:
    """The path that a flag or an argument names, `~` standing for the home folder.

    Of `gs://…` and `s3://…` it is the path in the bucket; UserError where these cannot be read.
    """
    if not text:
        raise UserError("an empty path was given; name a file or folder ('.' is the current one)")
    if remote.is_remote(text):
        return _path_in_bucket(text)
    try:
        path = Path(text).expanduser()
        path.exists()  # finds names that are too long and folders that are closed
        return path
    except RuntimeError as error:
        raise UserError(f"'{text}' names no home folder; write the path out") from error
    except OSError as error:
        raise UserError(f"'{text}' cannot be looked for: {error.strerror}") from error


def _parse(flag_values: flags.FlagValues) -> list[str]:
    """Sets the flags; returns the other arguments."""
    try:
        arguments = flag_values(sys.argv, known_only=True)[1:]
    except UnicodeDecodeError as error:
        raise UserError("--flagfile is no text; give a file with a flag on each line") from error
    except ValueError as error:  # of a boolean flag with a value, as in --nopedal=1
        raise UserError(str(error)) from error
    _require_finite(flag_values)
    return arguments


def _path_in_bucket(url: str) -> Path:
    scheme, _, place = url.partition("://")
    if not (place.strip("/") and url.isprintable()):
        raise UserError(f"{url!r} names nothing in a bucket; write {scheme}://BUCKET/FOLDER")
    client = remote.CLIENTS[scheme]
    if importlib.util.find_spec(client) is None:
        raise UserError(f"'{url}' needs {client}: pip install 'midijax[{remote.EXTRAS[scheme]}]'")
    return remote.path(url)


def _require_finite(flag_values: flags.FlagValues) -> None:
    """Refuses what absl lets through any bounds."""
    for name in flag_values:
        value = flag_values[name].value
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{name}={value} is not a number; give one")


def help_text(flag_values: flags.FlagValues, doc: str) -> str:
    """The command's description and its flags, each with its values or default."""
    lines = [doc.strip(), "", "Flags:"]
    own_flags = (flag_values[name] for name in flag_values)
    for flag in (flag for flag in own_flags if flag.help and flag.name not in _ABSL_FLAGS):
        form, meaning = _describe(flag)
        body = textwrap.wrap(meaning + _default(flag), HELP_WIDTH - 6)
        lines += [f"  {form}", *(f"      {line}" for line in body)]
    return "\n".join(lines)


_ABSL_FLAGS = {"flagfile", "undefok"}


def _describe(flag: flags.Flag) -> tuple[str, str]:
    """How a flag is written, and what it means."""
    if flag.boolean:
        return f"--[no]{flag.name}", flag.help
    if isinstance(flag, flags.EnumFlag):
        values = "|".join(flag.parser.enum_values)
        return f"--{flag.name}={values}", flag.help.removeprefix(f"<{values}>: ")
    return f"--{flag.name}", flag.help


def _default(flag: flags.Flag) -> str:
    if flag.default_as_str is None or flag.default in ([], ""):
        return ""
    return f" (default: {ast.literal_eval(flag.default_as_str)})"


def _command_name() -> str:
    """`midijax.train` if that module was run with `python -m`, else the name of the script."""
    spec = sys.modules["__main__"].__spec__
    return spec.name if spec else Path(sys.argv[0]).name
