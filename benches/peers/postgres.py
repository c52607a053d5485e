"""A throw-away PostgreSQL from the installed programs, with its own defaults: each commit reaches the disk."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from processes import cpu_of_tree, free_port

OWNER = "postgres"


class Postgres:
    """A running cluster that only this machine can reach."""

    def __init__(self) -> None:
        self._bin = _find_programs()
        self._user: int | None = None
        self._group: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        # Not in the run's own folder, which another user may not be let into.
        self.home = Path(tempfile.mkdtemp(prefix="agent-portail-bench-pg-"))
        self.port = free_port()

    def __enter__(self) -> "Postgres":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._server:
            self._server.send_signal(signal.SIGINT)
            self._server.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def _start(self) -> None:
        if os.geteuid() == 0:
            # It refuses to run as root.
            entry = _unprivileged()
            self._user, self._group = entry.pw_uid, entry.pw_gid
            os.chown(self.home, self._user, self._group)
        self.home.chmod(0o711)
        data = self.home / "data"
        initdb: list[str | Path] = [self._bin / "initdb", "-D", data, "-U", OWNER]
        self._run([*initdb, "-E", "UTF8", "--locale=C", "--auth=trust"])
        log = self.home / "log"
        with log.open("wb") as out:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", data, "-k", self.home, "-h", "", "-p", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                **self._as_owner(),
            )
        ready: list[str | Path] = [self._bin / "pg_isready", "-q", "-h", self.home, "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._server.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.05)

    def _as_owner(self) -> dict[str, Any]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {"user": self._user, "group": self._group, "cwd": self.home, "env": dict(env, LC_ALL="C")}

    def _run(self, command: list[str | Path]) -> str:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command, capture_output=True, text=True, check=False, **self._as_owner()
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {done.stderr}")
        return done.stdout

    @property
    def pid(self) -> int:
        assert self._server
        return self._server.pid

    def cpu(self) -> float:
        return cpu_of_tree(self.pid)

    def version(self) -> str:
        return self.sql(OWNER, "SHOW server_version").split()[0]

    def sql(self, database: str, text: str) -> str:
        """Runs SQL and answers its rows, columns separated by tabs."""
        return self._run(self._psql(database, text))

    def _psql(self, database: str, text: str) -> list[str | Path]:
        psql: list[str | Path] = [
            self._bin / "psql",
            "-X",
            "-q",
            "-At",
            "-F",
            "\t",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            OWNER,
        ]
        return [*psql, "-h", self.home, "-p", str(self.port), "-d", database, "-c", text]

    def copy(self, database: str, into: str, rows: Iterable[Iterable[object]]) -> None:
        """Fills a table, row by row."""
        command = self._psql(database, f"COPY {into} FROM STDIN")
        with subprocess.Popen(command, stdin=subprocess.PIPE, text=True, **self._as_owner()) as psql:
            assert psql.stdin
            for row in rows:
                psql.stdin.write("\t".join(str(column) for column in row) + "\n")
        if psql.returncode:
            raise RuntimeError(f"filling {into} failed")

    def fresh_database(self, name: str) -> None:
        """An empty database, with the log written down so that no tool pays for what came before."""
        self.sql(OWNER, f'DROP DATABASE IF EXISTS "{name}"')
        self.sql(OWNER, f'CREATE DATABASE "{name}"')
        self.settle()

    def settle(self) -> None:
        self.sql(OWNER, "CHECKPOINT")


def _find_programs() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda bin: int(bin.parent.name), reverse=True)
    path = [Path(folder) for folder in os.environ["PATH"].split(":")]
    for folder in [*debian, *path]:
        if all((folder / program).is_file() for program in ("initdb", "postgres", "psql", "pg_isready")):
            return folder
    raise RuntimeError("PostgreSQL is not installed: run scripts/setup.sh")


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("there is no user to run PostgreSQL as")
