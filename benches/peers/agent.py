"""agent-portail as the bench runs it: release build, defaults but for what a work is about."""

import json
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from postgres import OWNER, Postgres
from processes import Background, free_port
from trees import Tree


class Server(Protocol):
    """What a client must know of an S3 server."""

    endpoint: str
    region: str
    key_id: str
    secret: str


@dataclass
class Agent:
    """An agent for one folder, with a database of its own."""

    program: Path
    home: Path
    root: Path
    server: Server
    bucket: str
    postgres: Postgres
    # TOML lines of `[sync]` and of `[[folder]]`.
    sync: str = ""
    folder: str = ""
    database: str = "bench"
    env: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.monitor = f"127.0.0.1:{free_port()}"
        self.env = client_env(self.home, self.server)
        self.postgres.fresh_database(self.database)
        self._config.write_text(f"""
[agent]
name = "bench"
[s3]
bucket = "{self.bucket}"
endpoint_url = "{self.server.endpoint}"
region = "{self.server.region}"
[database]
host = "{self.postgres.home}"
port = {self.postgres.port}
name = "{self.database}"
user = "{OWNER}"
[sync]
{self.sync}
[monitor]
listen = "{self.monitor}"
[[folder]]
name = "bench"
path = "{self.root}"
{self.folder}
""")

    @property
    def _config(self) -> Path:
        return self.home / "config.toml"

    def command(self, *args: str) -> list[str]:
        return [str(self.program), "-c", str(self._config), *args]

    def run(self, *args: str) -> None:
        """Runs a command to its end, which must be a good one."""
        done = subprocess.run(self.command(*args), env=self.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"agent-portail {args[0]} failed: {done.stderr}")

    def sql(self, text: str) -> str:
        return self.postgres.sql(self.database, text)

    def differences(self, tree: Tree) -> list[str]:
        """What of the catalog is not as in the tree."""
        told = self.sql("SELECT path, size, encode(md5, 'hex'), state FROM portail.file")
        rows = {path: rest for path, *rest in (line.split("\t") for line in told.splitlines())}
        wanted = {path: [str(file.size), file.md5, "synced"] for path, file in tree.files.items()}
        unlike = [path for path in rows.keys() | wanted.keys() if rows.get(path) != wanted.get(path)]
        return [f"{path}: its row is {rows.get(path)}" for path in sorted(unlike)]

    def daemon(self) -> "Daemon":
        return Daemon(self)


class Daemon(Background):
    """`agent-portail run`."""

    def __init__(self, agent: Agent) -> None:
        self._url = f"http://{agent.monitor}"
        super().__init__(agent.command("run"), agent.env, agent.home / "daemon.log")

    def status(self) -> dict[str, Any]:
        """Of its only folder."""
        with urllib.request.urlopen(f"{self._url}/status", timeout=30) as answer:
            folders: list[dict[str, Any]] = json.load(answer)["folders"]
        return folders[0]

    def wait_until(self, what: str, holds: Any, patience: float) -> dict[str, Any]:
        """Waits until the status is so, and answers it."""
        until, status = time.perf_counter() + patience, {}
        while time.perf_counter() < until:
            self.check()
            try:
                status = self.status()
            # Its monitor or its folder is not there yet.
            except (urllib.error.URLError, ConnectionError, IndexError):
                status = {}
            if status and holds(status):
                return status
            time.sleep(0.05)
        raise RuntimeError(f"not {what} within {patience:.0f} s: {status}")

    def wait_until_in_sync(self, patience: float) -> dict[str, Any]:
        return self.wait_until("in sync", is_in_sync, patience)


def is_in_sync(status: dict[str, Any]) -> bool:
    return status["state"] == "in_sync" and status["queue_depth"] == 0 and status["last_reconciled_at"] is not None


def client_env(home: Path, server: Server) -> dict[str, str]:
    """The environment of a client: its keys, and nothing of the person's who runs the bench."""
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AWS_ACCESS_KEY_ID": server.key_id,
        "AWS_SECRET_ACCESS_KEY": server.secret,
        "AWS_REGION": server.region,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
