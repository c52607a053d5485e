"""W8: very many new files at once, under the daemon and for a single pass."""

import time
from collections.abc import Iterator
from dataclasses import replace

import trees
from agent import Agent
from bench import Bench
from measure import Meter, Result, measure
from store import Store
from tools import OURS, Job

DIRECTORIES = 200


def files(bench: Bench) -> int:
    return 4_000 if bench.quick else 20_000


def burst(bench: Bench) -> Iterator[Result]:
    under = {f"{OURS} run": _under_daemon, f"{OURS} sync": _by_sync}
    for number, name in bench.in_turn(list(under)):
        with bench.garage() as server:
            store = Store(server, "burst")
            root = bench.home / "tree"
            trees.empty(root)
            agent = Agent(bench.program, bench.home / "agent", root, server, store.bucket, bench.postgres)
            result = under[name](bench, store, agent, files(bench), number)
            yield replace(result, more={"files_per_s": files(bench) / result.wall} | result.more)


def _by_sync(bench: Bench, store: Store, agent: Agent, count: int, number: int) -> Result:
    tree = trees.small(agent.root, count, seed=5, directories=DIRECTORIES)
    job = Job(agent.command("sync"), agent.env)
    result = measure(bench, store.server, job, "W8", f"{OURS} sync", number)
    return replace(result, trouble=result.trouble or store.differences(tree) + agent.differences(tree))


def _under_daemon(bench: Bench, store: Store, agent: Agent, count: int, number: int) -> Result:
    content = list(trees.small_files(count, seed=5, directories=DIRECTORIES))
    tree = trees.empty(agent.root)
    with agent.daemon() as daemon:
        before = daemon.wait_until_in_sync(30)
        meter, cpu, began = Meter(bench, store.server), daemon.cpu(), time.perf_counter()
        trees.fill(tree, content)
        written = time.perf_counter() - began
        # Every file has its row, and nothing is left to do.
        daemon.wait_until("uploaded", lambda now: now["done"].get("uploaded", 0) >= count and is_idle(now), 600)
        wall, cpu = time.perf_counter() - began, daemon.cpu() - cpu
        costs = meter.costs(cpu)
        after = daemon.status()
        trouble = store.differences(tree) + agent.differences(tree)
        if after["last_reconciled_at"] != before["last_reconciled_at"]:
            trouble.append("a reconciliation was needed")
        if after["watch_overflows"] or any(after["drift"].values()):
            trouble.append(f"events were lost: {after['watch_overflows']} overflows, drift {after['drift']}")
        more = {"write_s": written}
        memory = daemon.memory()
    return Result("W8", f"{OURS} run", number, wall, cpu, memory, **costs, more=more, trouble=trouble)


def is_idle(status: dict[str, object]) -> bool:
    return status["queue_depth"] == 0
