"""One measurement: a command, what it cost its own processes and the servers, and who else was busy meanwhile."""

import os
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from bench import Bench
from garage import Garage
from processes import cpu_of_machine, run
from tools import Job

# Longer than the slowest tool takes for the largest work.
PATIENCE = 1200
# Between writing files and looking at them: some tools, and S3's dates, know whole seconds only.
SETTLE = 1.1


@dataclass(frozen=True)
class Result:
    """What one tool has done in one work and round. Seconds, MiB."""

    work: str
    tool: str
    round: int
    wall: float
    cpu: float
    memory: float
    server_cpu: float
    database_cpu: float
    other_cpu: float
    requests: dict[str, int] = field(default_factory=dict)
    # What else a work wants to tell, by name.
    more: dict[str, float] = field(default_factory=dict)
    # Nothing if the bucket, and our rows, are as they should be.
    trouble: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Meter:
    """What the processors have done since it was made: by servers, and by everybody but the client, them and us."""

    def __init__(self, bench: Bench, server: Garage | None) -> None:
        self._bench, self._server = bench, server
        self._before = self._now()
        self._requests = server.requests() if server else {}

    def _now(self) -> tuple[float, float, float, float]:
        own = os.times()
        server = self._server.cpu() if self._server else 0.0
        return server, self._bench.postgres.cpu(), cpu_of_machine(), own.user + own.system

    def costs(self, client_cpu: float) -> dict[str, Any]:
        """As fields of a result."""
        server, database, machine, own = (now - before for now, before in zip(self._now(), self._before, strict=True))
        requests = self._server.requests() if self._server else {}
        grown = {name: count - self._requests.get(name, 0) for name, count in requests.items()}
        return {
            "server_cpu": server,
            "database_cpu": database,
            "other_cpu": max(0.0, machine - server - database - own - client_cpu),
            "requests": {name: count for name, count in grown.items() if count},
        }


def measure(bench: Bench, server: Garage | None, job: Job, work: str, tool: str, number: int) -> Result:
    """Runs a job and measures it."""
    # What was written before reaches the disk now, not while somebody is measured.
    os.sync()
    bench.postgres.settle()
    time.sleep(SETTLE)
    meter = Meter(bench, server)
    ended = run(job.command, job.env, bench.home / "tool.log", PATIENCE)
    costs = meter.costs(ended.cpu)
    trouble = []
    if ended.code is None:
        trouble.append(f"given up after {PATIENCE} s")
    elif ended.code:
        trouble.append(f"it ended with {ended.code}: {ended.output}")
    return Result(work, tool, number, ended.wall, ended.cpu, ended.memory, **costs, trouble=trouble)
