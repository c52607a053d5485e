"""W10: directories removed by the thousand, beside many that stay watched."""

import subprocess
import threading
import time
from collections.abc import Iterator

import trees
from agent import Agent, Daemon
from bench import Bench
from burst import is_idle
from latency import quantile
from measure import Meter, Result
from store import Lookout, Store
from tools import OURS
from trees import SMALL, Tree

FILES_EACH = 2
# A file is saved this often meanwhile, to see whether the watcher still hears. Seconds.
SAVED_EVERY = 0.25
PATIENCE = 120


def size(bench: Bench) -> tuple[int, int]:
    """Directories that go, and those beside them."""
    return (200, 5_000) if bench.quick else (2_000, 50_000)


def removal(bench: Bench) -> Iterator[Result]:
    name = f"{OURS} run"
    for number, _ in bench.in_turn([name]):
        with bench.garage() as server:
            store = Store(server, "removal")
            tree = trees.empty(bench.home / "tree")
            _plant(tree, *size(bench))
            agent = Agent(
                *(bench.program, bench.home / "agent", tree.root, server, store.bucket, bench.postgres),
                folder='max_delete = "100%"',
            )
            with agent.daemon() as daemon:
                daemon.wait_until_in_sync(600)
                yield _remove(bench, store, agent, daemon, tree, name, number)


def _plant(tree: Tree, gone: int, beside: int) -> None:
    """`beside` directories without files, and `gone` with some, in groups of 100."""
    for number in range(beside):
        (tree.root / f"beside/{number // 100:04d}/{number % 100:02d}").mkdir(parents=True)
    each = range(FILES_EACH)
    directories = (f"gone/{number // 100:04d}/{number % 100:02d}" for number in range(gone))
    trees.fill(tree, ((f"{path}/f{file}", f"{path} {file}".encode()) for path in directories for file in each))


def _remove(bench: Bench, store: Store, agent: Agent, daemon: Daemon, tree: Tree, name: str, number: int) -> Result:
    files = sum(path.startswith("gone/") for path in tree.files)
    listener = _Listener(tree, store)
    time.sleep(2)
    meter, before, began = Meter(bench, store.server), daemon.cpu(), time.perf_counter()
    with listener:
        subprocess.run(["rm", "-rf", tree.root / "gone"], check=True)
        removed = time.perf_counter()
        daemon.wait_until("gone", lambda now: now["done"].get("deleted", 0) >= files, PATIENCE)
        # The row goes last, so nothing is left of the object either; both are checked below.
        while agent.sql("SELECT count(*) FROM portail.file WHERE path LIKE 'gone/%'").strip() != "0":
            time.sleep(0.05)
        all_gone = time.perf_counter()
        # The watcher may go on cleaning up after itself.
        time.sleep(2)
    cpu = daemon.cpu() - before
    costs, wall = meter.costs(cpu), all_gone - removed
    for path in [path for path in tree.files if path.startswith("gone/")]:
        del tree.files[path]
    # The last file that was saved has its object, and soon its row.
    daemon.wait_until("idle", is_idle, PATIENCE)
    trouble = listener.trouble + store.differences(tree) + agent.differences(tree)
    status = daemon.status()
    if status["watch_overflows"]:
        trouble.append(f"events were lost: {status['watch_overflows']} overflows")
    more = {
        "rm_s": removed - began,
        "heard_p50_ms": quantile(listener.took, 0.5),
        "heard_max_ms": quantile(listener.took, 1),
    }
    return Result("W10", name, number, wall, cpu, daemon.memory(), **costs, more=more, trouble=trouble)


class _Listener:
    """Saves a file now and then, and takes the time until it is in the bucket."""

    def __init__(self, tree: Tree, store: Store) -> None:
        self._tree, self._lookout = tree, Lookout(store)
        keys = (f"beside/{number % 50:04d}/{number % 100:02d}/heard{number}" for number in range(200))
        self._heads = {key: self._lookout.prepare(key) for key in keys}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self.took: list[float] = []
        self.trouble: list[str] = []

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _listen(self) -> None:
        for key, head in self._heads.items():
            self._tree.write(key, key.encode() + bytes(SMALL))
            closed = time.perf_counter()
            if not self._lookout.wait_for(head, PATIENCE):
                self.trouble.append(f"{key} was never heard of")
                return
            self.took.append((time.perf_counter() - closed) * 1000)
            if self._over.wait(SAVED_EVERY):
                return
