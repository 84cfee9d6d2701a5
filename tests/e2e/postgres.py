"""A PostgreSQL server of the tests' own: a private cluster in a temporary folder, reached through a socket there alone.

from postgres import postgres  # noqa: F401 (a fixture)

def test_something(postgres):
    url = postgres.make_database()  # for --database, or any libpq client
    postgres.kill(); postgres.start()
"""

import contextlib
import os
import pwd
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

TIMEOUT_S = 120
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
max_connections = 60
shared_buffers = 64MB
fsync = on
"""


def find_programs() -> Path | None:
    """The folder that holds them: PG_BINDIR, where Debian puts the newest, or on PATH."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    folders = [os.environ.get("PG_BINDIR", ""), *map(str, debian), *os.environ.get("PATH", "").split(os.pathsep)]
    programs = ("initdb", "pg_ctl", "postgres", "psql")
    return next((Path(f) for f in folders if f and all((Path(f) / name).exists() for name in programs)), None)


class Postgres:
    """One cluster. `start()` again after `stop()` or `kill()` serves the same data."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="argus-postgres-"))
        self.databases = 0
        self.identity: dict[str, object] = {}
        if os.geteuid() == 0:  # the server refuses to run as root
            user = next(u for u in pwd.getpwall() if u.pw_name in ("postgres", "nobody") and u.pw_uid != 0)
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.run("initdb", "-D", self.data, "-U", "argus", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as settings:
            settings.write(SETTINGS.format(folder=self.folder))

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, name: str, *arguments: object) -> str:
        # Into a file: a server that is started keeps its output open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run(
                [self.programs / name, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                timeout=TIMEOUT_S,
                check=False,
                **self.identity,
            )
            output.seek(0)
            said = output.read().decode(errors="replace")
        if done.returncode != 0:
            raise RuntimeError(f"{name} failed ({done.returncode}):\n{said[-2000:]}\n{self.log()[-2000:]}")
        return said.strip()

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> "Postgres":
        self.run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-t", TIMEOUT_S // 2, "start")
        return self

    def stop(self) -> None:
        """As an operator would: connections are told, and closed."""
        self.run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()

    def pid(self) -> int | None:
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError):
            return None

    def kill(self) -> None:
        """SIGKILL to the server and all its processes at one moment: nothing is told, nothing is written."""
        pid = self.pid()
        if pid is None:
            return
        family: list[int] = []
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(pid, signal.SIGSTOP)  # so that it starts no process while its processes are killed
            family = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [pid]
        waits = []
        for member in family:
            with contextlib.suppress(ProcessLookupError):
                waits.append(os.pidfd_open(member))
                os.kill(member, signal.SIGKILL)
        for descriptor in waits:
            select.select([descriptor], [], [], TIMEOUT_S)  # readable once it has ended
            os.close(descriptor)
        # Until init has reaped the dead they look alive to the server that comes next.
        for lock in (self.data / "postmaster.pid", *self.folder.glob(".s.PGSQL.*")):
            lock.unlink(missing_ok=True)

    def connection(self, database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={quote(str(self.folder), safe='')}&user=argus"

    def make_database(self) -> str:
        """A new, empty one; how to connect to it."""
        self.databases += 1
        name = f"test{self.databases}"
        self.sql(f"CREATE DATABASE {name}")
        return self.connection(name)

    def sql(self, statement: str, connection: str | None = None) -> str:
        """Runs SQL as superuser; what it returns, one row a line."""
        where = connection or self.connection()
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", where, "-c", statement)

    def set_read_only(self, on: bool) -> None:
        self.sql(f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}")
        self.sql("SELECT pg_reload_conf()")

    def cut_connections(self) -> None:
        """Ends every session but the one that asks for it; returns when they are gone."""
        self.sql(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (apt-get install postgresql)")
    server = Postgres(programs)
    try:
        yield server.start()
    finally:
        server.remove()
