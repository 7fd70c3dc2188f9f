"""A tiny model on the études that come with midijax: every part of the program in a minute.

Command: python -m midijax.train --workdir=runs/tiny
Time:    28 seconds on 2 CPU cores (AVX-512), at some 110,000 events/s.
Score:   1.842 nats/event on the 10 études held out (2.5 million events seen); 1.846 and 1.825 with
         the seeds 1 and 2.

    events seen                    0.82 M   1.64 M   2.46 M
    validation, nats/event          2.326    1.942    1.842
"""

from midijax.config import TINY, Config


def get_config() -> Config:
    """The preset that midijax.train takes when given none."""
    return TINY
