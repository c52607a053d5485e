"""W6: from close() to the object, file by file, under a program that watches."""

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trees
from agent import Agent, Daemon, client_env
from bench import Bench
from garage import Garage
from measure import Meter, Result
from processes import Background
from store import Lookout, Store
from tools import OURS, s5cmd_program
from trees import SMALL, Tree

PATIENCE = 15
# Seconds between two files, so that each meets a watcher at rest.
PAUSE = (0.02, 0.1)
# s5cmd takes commands from its standard input and runs them as they come.
PIPE = """inotifywait -q -m -r -e close_write,moved_to --format "cp '%w%f' 's3://$2/%f'" "$1" |
exec "$3" --log error --endpoint-url "$4" run"""

Watcher = Callable[[Bench, Path, Store], Background]


def ours(sync: str) -> Watcher:
    def start(bench: Bench, root: Path, store: Store) -> Background:
        agent = Agent(bench.program, bench.home / "agent", root, store.server, store.bucket, bench.postgres, sync)
        daemon = Daemon(agent)
        daemon.wait_until_in_sync(30)
        return daemon

    return start


def inotifywait(bench: Bench, root: Path, store: Store) -> Background:
    args = [str(root), store.bucket, str(s5cmd_program(bench)), store.server.endpoint]
    env = client_env(bench.home, store.server)
    return Background(["bash", "-c", PIPE, "bash", *args], env, bench.home / "watcher.log")


def mobius3(bench: Bench, root: Path, store: Store) -> Background:
    server: Garage = store.server
    args = [str(root), store.bucket, f"{server.endpoint}/{{}}/", server.region]
    command = [str(bench.venv / "bin" / "mobius3"), *args]
    return Background(command, client_env(bench.home, server), bench.home / "watcher.log")


WATCHERS: dict[str, Watcher] = {
    f'{OURS}, debounce = "0ms"': ours('debounce = "0ms"'),
    f"{OURS}, as by default": ours(""),
    "inotifywait + s5cmd run": inotifywait,
    "mobius3": mobius3,
}


def latency(bench: Bench) -> Iterator[Result]:
    samples = 40 if bench.quick else 200
    for number, name in bench.in_turn(list(WATCHERS)):
        tree = trees.empty(bench.home / "tree")
        with bench.garage() as server:
            store = Store(server, "latency")
            with WATCHERS[name](bench, tree.root, store) as watcher:
                yield _watch(bench, store, tree, watcher, name, number, samples)


def _watch(bench: Bench, store: Store, tree: Tree, watcher: Background, name: str, number: int, samples: int) -> Result:
    rng, lookout = random.Random(4), Lookout(store)
    _wait_until_ready(tree, watcher, lookout)
    prepared = {key: lookout.prepare(key) for key in (f"w{index:04d}.bin" for index in range(samples))}
    meter, before, began, took = Meter(bench, store.server), watcher.cpu(), time.perf_counter(), []
    for key, head in prepared.items():
        tree.write(key, rng.randbytes(SMALL))
        closed = time.perf_counter()
        if not lookout.wait_for(head, PATIENCE):
            break
        took.append((time.perf_counter() - closed) * 1000)
        time.sleep(rng.uniform(*PAUSE))
    wall, cpu = time.perf_counter() - began, watcher.cpu() - before
    costs = meter.costs(cpu)
    trouble = [] if len(took) == samples else [f"file {len(took)} was not there after {PATIENCE} s"]
    more = {
        "p50_ms": quantile(took, 0.5),
        "p99_ms": quantile(took, 0.99),
        "cpu_ms": cpu * 1000 / max(1, len(took)),
    }
    trouble += store.differences(tree)
    return Result("W6", name, number, wall, cpu, watcher.memory(), **costs, more=more, trouble=trouble)


def _wait_until_ready(tree: Tree, watcher: Background, lookout: Lookout) -> None:
    """Saves a file again and again until the watcher has brought it up."""
    head, content = lookout.prepare("ready.bin"), bytes(SMALL)
    for _ in range(60):
        watcher.check()
        tree.write("ready.bin", content)
        if lookout.wait_for(head, 0.5):
            # What it may still do about the same file is not to be measured.
            time.sleep(2)
            return
    raise RuntimeError(f"no watcher after 30 s: {watcher.log.read_text()}")


def quantile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")
