"""Where a worker stands among the others. Knows nothing of what it does there."""

import socket
from dataclasses import dataclass
from pathlib import Path

CANNOT_START = 3
"""Exit code of a worker that has told its parent why it cannot serve."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where worker `number` of `count` stands. `end`: its end of the channel to the parent; `listener` and
    `folder` are everybody's."""

    number: int
    count: int
    folder: Path
    listener: socket.socket
    end: socket.socket
