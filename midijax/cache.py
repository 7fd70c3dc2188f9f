"""Where midijax keeps what it can make or fetch again."""

import os
from pathlib import Path


def folder() -> Path:
    """In the user's cache folder, there already or not; RuntimeError if there is no home folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "midijax"
