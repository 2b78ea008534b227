"""Ids of what is stored. They sort in the order in which they were made, so that an index of millions of rows
takes a new one at its end."""

import os
import time


def new_id(prefix: str) -> str:
    """`prefix` and 32 hexadecimal digits: milliseconds since 1970 in 12, the others random, as in a UUID of
    version 7 (RFC 9562)."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
