"""W7 and W9: large folders that are in sync, in a single pass and under the daemon. Nothing is uploaded for them."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import generated
from agent import Agent
from bench import Bench
from listing import PAGE, ListingServer
from measure import Meter, Result, measure
from tools import OURS, Job

FILES = (10_000, 100_000, 1_000_000)
# Bounds the memory, whatever the number of files. MiB.
MEMORY = 100


def in_sync(bench: Bench) -> Iterator[Result]:
    """W7: passes over ever more files."""
    for files in FILES[:2] if bench.quick else FILES:
        root = generated.tree(bench, files, per_directory=100)
        with _listing(root) as server:
            agent = _agent(bench, root, server)
            job = Job(agent.command("sync"), agent.env)
            # The first pass takes note of the folder's identity.
            agent.run("sync")
            for number in range(bench.rounds):
                server.requests.clear()
                result = measure(bench, None, job, "W7", f"{OURS}, {files:,} files", number)
                pages = {"ListObjectsV2": files // PAGE}
                asked = dict(server.requests)
                trouble = [] if asked == pages else [f"it asked S3 for {asked} instead of {pages}"]
                yield replace(result, requests=asked, more={"files": files}, trouble=result.trouble + trouble)


def idle_size(bench: Bench) -> tuple[int, int]:
    """Files and directories."""
    return (10_000, 1_000) if bench.quick else (100_000, 10_000)


def idle(bench: Bench) -> Iterator[Result]:
    """W9: the daemon while nothing happens."""
    seconds = 20 if bench.quick else 180
    files, directories = idle_size(bench)
    root = generated.tree(bench, files, files // directories)
    with _listing(root) as server:
        agent = _agent(bench, root, server)
        with agent.daemon() as daemon:
            status = daemon.wait_until_in_sync(300)
            # The first reconciliation's last echoes.
            time.sleep(5)
            meter, before = Meter(bench, None), daemon.cpu()
            time.sleep(seconds)
            cpu = daemon.cpu() - before
            costs = meter.costs(cpu)
            more = {
                "watches": status["watches"],
                "percent": cpu * 100 / seconds,
                "database_percent": costs["database_cpu"] * 100 / seconds,
                "resident_mb": daemon.memory("VmRSS"),
            }
            trouble = [] if status["watches"] >= directories else [f"{status['watches']} watches only"]
            name = f"{OURS} run"
            yield Result("W9", name, 0, seconds, cpu, daemon.memory(), **costs, more=more, trouble=trouble)


def _listing(root: Path) -> ListingServer:
    return ListingServer((path for path, _ in generated.paths(root)), 0, generated.EMPTY)


def _agent(bench: Bench, root: Path, server: ListingServer) -> Agent:
    agent = Agent(bench.program, bench.home / "agent", root, server, "bench", bench.postgres)
    generated.record(agent)
    return agent
