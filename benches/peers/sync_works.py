"""W1 to W5: a pass over a folder by each tool."""

from collections.abc import Iterator
from dataclasses import replace

import trees
from bench import Bench
from garage import Garage
from measure import Result, measure
from store import Store
from tools import QUICK, TOOLS, Job
from trees import MIB, Tree

SMALL_FILES = 10_000
CHANGED = DELETED = 100
# The pass over what is in sync is short, so it is run more often.
IN_SYNC = 3


def small(bench: Bench) -> Iterator[Result]:
    """W1 to W3, on one bucket after another: cold, in sync, changed."""
    for number, tool in bench.in_turn(_names(bench)):
        tree = trees.small(bench.home / "tree", SMALL_FILES, seed=1)
        with bench.garage() as server:
            store = Store(server, "small")
            job = TOOLS[tool](bench, tree.root, server, store.bucket)
            yield _one(bench, store, job, tree, "W1", tool, number)
            for _ in range(IN_SYNC):
                yield _one(bench, store, job, tree, "W2", tool, number)
            trees.change(tree, CHANGED, DELETED, seed=2)
            yield _one(bench, store, job, tree, "W3", tool, number)


def one_large(bench: Bench) -> Iterator[Result]:
    """W4: one large file."""
    yield from _large(bench, "W4", [512 * MIB if bench.quick else 2048 * MIB])


def many_large(bench: Bench) -> Iterator[Result]:
    """W5: files of the size from which on uploads come in parts."""
    yield from _large(bench, "W5", [8 * MIB] * (50 if bench.quick else 200))


def _large(bench: Bench, work: str, sizes: list[int]) -> Iterator[Result]:
    tree = trees.large(bench.home / "tree", sizes, seed=3)
    for number, tool in bench.in_turn(_names(bench)):
        with bench.garage() as server:
            store = Store(server, "large")
            job = TOOLS[tool](bench, tree.root, server, store.bucket)
            yield _one(bench, store, job, tree, work, tool, number)


def _names(bench: Bench) -> list[str]:
    return QUICK if bench.quick and not bench.tools else list(TOOLS)


def _one(bench: Bench, store: Store, job: Job, tree: Tree, work: str, tool: str, number: int) -> Result:
    server: Garage = store.server
    result = measure(bench, server, job, work, tool, number)
    # What has failed has said why, which is what is to be read.
    trouble = result.trouble or store.differences(tree) + job.differences(tree)
    return replace(result, trouble=trouble)


def title(work: str, bench: Bench) -> str:
    size = "512 MiB" if bench.quick else "2 GiB"
    return {
        "W1": f"W1: {SMALL_FILES:,} files of 4 KiB, cold",
        "W2": "W2: the same, in sync",
        "W3": f"W3: {CHANGED} changed, {DELETED} deleted",
        "W4": f"W4: one file of {size}",
        "W5": f"W5: {50 if bench.quick else 200} files of 8 MiB",
    }[work]
