"""The `coterie` command. Thin: each command parses its options and calls what the API calls too.

Heavy imports are inside the commands, so that `coterie --help` is quick.
"""

from app.cli.root import main

__all__ = ["main"]
