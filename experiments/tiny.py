"""A tiny model on the études that come with midijax: every part of the program in a minute.

Command: python -m midijax.train --workdir=runs/tiny
"""

from midijax.config import TINY, Config


def get_config() -> Config:
    """The preset that midijax.train takes when given none."""
    return TINY
