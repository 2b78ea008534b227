"""Where what was fetched or computed is kept: `COTERIE_CACHE`, or `~/.cache/coterie`."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder; it need not be there."""
    return Path(os.environ.get("COTERIE_CACHE") or Path.home() / ".cache" / "coterie")
