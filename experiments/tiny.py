"""A tiny model on the études that come with midijax: every part of the program in a minute.

Command: python -m midijax.train --workdir=runs/tiny
Time:    50 seconds on 2 CPU cores, at some 50,000 events/s.
Score:   1.794 nats/event on the 10 études held out (2.5 million events seen).

    events seen                    0.82 M   1.64 M   2.46 M
    validation, nats/event          2.282    1.895    1.794
"""

from midijax.config import TINY, Config


def get_config() -> Config:
    """The preset that midijax.train takes when given none."""
    return TINY
