"""A PostgreSQL server for tests and benchmarks, made from the installed binaries and gone afterwards."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

WAIT_S = 60


class NoPostgres(Exception):
    """The binaries are not installed."""


@dataclass(frozen=True)
class Postgres:
    """A running server; its superuser needs no password from this machine."""

    port: int
    user: str
    control: Sequence[str] = ()
    """`pg_ctl` with its options, but for what to do."""
    flags: Sequence[str] = ()
    """Options of its start."""

    def start(self) -> None:
        _run([*self.control, *self.flags, "start"])

    def crash(self) -> None:
        """End it at once, as when it is killed: what was confirmed is there at the next start."""
        _run([*self.control, "-m", "immediate", "stop"])

    def new_database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"coterie_{uuid4().hex[:12]}"
        with psycopg.connect(host="127.0.0.1", port=self.port, user=self.user, dbname="postgres") as own:
            own.autocommit = True
            own.execute(f"CREATE DATABASE {name}".encode())
        return f"postgresql://{self.user}@127.0.0.1:{self.port}/{name}"


def binaries() -> Path:
    """The folder of initdb and postgres. Raises NoPostgres."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgres("no PostgreSQL binaries (apt-get install postgresql)")


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server in a temporary folder. Root may not run one: it becomes the user postgres."""
    folder = binaries()
    as_root = os.geteuid() == 0
    user = "postgres" if as_root else pwd.getpwuid(os.geteuid()).pw_name
    prefix = ["runuser", "-u", user, "--"] if as_root else []
    home = Path(tempfile.mkdtemp(prefix="coterie-pg-"))
    try:
        if as_root:
            shutil.chown(home, user)
        data = home / "data"
        options = ["--no-sync", "--auth=trust", f"--username={user}", "--encoding=UTF8", "--no-locale"]
        _run([*prefix, str(folder / "initdb"), "-D", str(data), *options])
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        flags = f"-p {port} -h 127.0.0.1 -k {home} -c fsync=off -c full_page_writes=off"
        control = [*prefix, str(folder / "pg_ctl"), "-D", str(data), "-w", "-t", str(WAIT_S)]
        server = Postgres(port, user, control, ["-l", str(home / "log"), "-o", flags])
        server.start()
        try:
            yield server
        finally:
            server.crash()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(command: list[str]) -> None:
    # A file, not a pipe: the server inherits it and would keep a pipe open.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, cwd="/", timeout=2 * WAIT_S, check=False)
        if done.returncode != 0:
            output.seek(0)
            raise RuntimeError(f"{' '.join(command)}: {output.read().decode(errors='replace')[-2000:]}")
