"""`python -m experts.local fetch ...`: fetch and convert models in advance."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from base.terminal import warn
from experts.local.download_progress import model_progress
from experts.local.errors import LocalError
from experts.local.model_folders import ensure_model, is_ready
from experts.local.model_sources import SOURCES
from experts.local.vllm import prepare_servers
from experts.registry import RegistryError, load_registry


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m experts.local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    fetch = commands.add_parser(
        "fetch", help="fetch, check and convert models; quick when they are there already"
    )
    fetch.add_argument("sources", nargs="*", metavar="MODEL", help=f"one of {', '.join(SOURCES)}")
    fetch.add_argument("--registry", type=Path, metavar="FILE", help="every local model of this registry")
    fetch.add_argument("--cache", type=Path, help="instead of COTERIE_CACHE or ~/.cache/coterie")
    commands.add_parser("list", help="the shipped models, and which of them are ready")
    options = parser.parse_args(arguments)
    if options.command == "list":
        for name in SOURCES:
            sys.stdout.write(f"{name}\t{'ready' if is_ready(name) else 'not fetched'}\n")
        return 0
    try:
        with model_progress() as report:
            for source in dict.fromkeys(options.sources):
                ensure_model(source, cache=options.cache, report=report)
            if options.registry:
                prepare_servers(load_registry(options.registry), cache=options.cache, report=report)
    except (LocalError, RegistryError) as error:
        warn(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
