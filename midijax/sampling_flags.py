"""How events are drawn, as flags of the commands that let a model play."""

from typing import TYPE_CHECKING, Any

from absl import flags

if TYPE_CHECKING:
    from midijax.sampling import SamplingSettings

NAMES = ("temperature", "top_k", "top_p", "min_p", "max_note_seconds")


def define_flags(flag_values: flags.FlagValues) -> None:
    """Adds the flags that `settings` reads to those of a command."""
    flags.DEFINE_float(
        "temperature",
        1.03,
        "Below 1 the music is more cautious, above 1 wilder; 0 always takes the likeliest event.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "top_k",
        0,
        "Choose only among this many of the likeliest events; 0: all.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "top_p",
        0.995,
        "Choose only among the likeliest events that together have this probability; 1: all.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "min_p",
        0.0,
        "Leave out events less likely than this share of the likeliest one; 0: none.",
        flag_values=flag_values,
    )
    flags.DEFINE_float(
        "max_note_seconds", 10.0, "Release every note after this time.", flag_values=flag_values
    )


def settings(flag_values: flags.FlagValues) -> "SamplingSettings":
    """The settings asked for; UserError for a value out of its range."""
    from midijax.sampling import SamplingSettings  # JAX, after --help and bad flags

    values: dict[str, Any] = {name: flag_values[name].value for name in NAMES}
    return SamplingSettings(**values)
