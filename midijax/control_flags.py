"""What is asked of the music, as flags: a value, or several that follow one another."""

from collections.abc import Callable
from typing import Any

from absl import flags

from midijax.controls import DENSITY_KNOTS, MAX_GUIDANCE, Wishes
from midijax.errors import UserError

_NAMES = ("notes_per_second", "pitch_classes", "loudness", "composer")


def define_flags(flag_values: flags.FlagValues) -> None:
    """Adds a flag for each control, and --guidance."""
    most = DENSITY_KNOTS[-1]
    helps = (
        f"Notes per second to play, from 0 to {most:g}; several, as in 2,8,4, follow one another, "
        "each for an equal part of the music.",
        "How much to play of C, C sharp, D and so on to B: twelve weights with commas between; "
        "several such lists, with semicolons between, follow one another.",
        "How loud to play: a mean MIDI velocity from 1 to 127, or several that follow one another.",
        "Whose music to play, by a name the model knows, such as Chopin (an unknown one has them "
        "listed); several, as in 'Schubert; Liszt', follow one another.",
    )
    for name, help_text in zip(_NAMES, helps, strict=True):
        flags.DEFINE_string(name, None, help_text, flag_values=flag_values)
    flags.DEFINE_float(
        "guidance",
        1.0,
        "How strongly what is asked by the flags above is followed: above 1 more than the model "
        "learned to, at some cost in time.",
        lower_bound=0.0,
        upper_bound=MAX_GUIDANCE,
        flag_values=flag_values,
    )


def wishes(flag_values: flags.FlagValues) -> Wishes:
    """What the flags ask for; UserError for a value that is none, or guidance without a wish."""
    density, classes, loudness, composer = (flag_values[name].value for name in _NAMES)
    asked = Wishes(
        notes_per_second=_values("notes_per_second", density, ",", float),
        pitch_classes=_values("pitch_classes", classes, ";", _weights),
        loudness=_values("loudness", loudness, ",", float),
        composer=_values("composer", composer, ";", str.strip),
        guidance=float(flag_values["guidance"].value or 0),
    )
    if flag_values["guidance"].present and not asked.asked:
        raise UserError(
            f"--guidance is of what is asked; ask by --{', --'.join(_NAMES)}, or leave it out"
        )
    return asked


def _values(
    name: str, text: str | None, separator: str, parse: Callable[[str], Any]
) -> tuple[Any, ...]:
    if text is None:
        return ()
    try:
        return tuple(parse(part) for part in text.split(separator))
    except ValueError:
        raise UserError(f"--{name}={text}: give numbers with commas between") from None


def _weights(text: str) -> tuple[float, ...]:
    return tuple(float(weight) for weight in text.split(","))
