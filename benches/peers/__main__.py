"""Runs agent-portail and its peers in turn against one Garage, and tells what each needed. `make bench` calls it."""

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import burst
import latency
import removal
import report
import scale
import sync_works
import urls
from bench import Bench
from measure import Result
from postgres import Postgres

PROJECT = Path(__file__).parents[2]
# What is run for each work. The first three share their folder and bucket.
WORKS: dict[str, Callable[[Bench], Iterator[Result]]] = {
    "W1": sync_works.small,
    "W4": sync_works.one_large,
    "W5": sync_works.many_large,
    "W6": latency.latency,
    "W7": scale.in_sync,
    "W8": burst.burst,
    "W9": scale.idle,
    "W10": removal.removal,
    "W11": urls.urls,
}
QUICK = ["W1", "W4", "W5", "W6", "W11"]


def main() -> int:
    asked = arguments()
    for asking in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asking, stop)
    here = asked.target / "bench"
    kept = here / "kept"
    kept.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="run-", dir=here) as home, Postgres() as postgres:
        bench = Bench(
            program=asked.program or asked.target / "release" / "agent-portail",
            venv=here / "venv",
            home=Path(home),
            kept=kept,
            postgres=postgres,
            tools=asked.tool,
            rounds=asked.rounds or (1 if asked.quick else 3),
            quick=asked.quick,
        )
        print(f"{report.machine(bench.home)}\n{report.versions(bench)}\n", flush=True)
        works = asked.work or (QUICK if asked.quick else list(WORKS))
        broken = False
        with (here / "results.jsonl").open("a") as raw:
            for work in works:
                try:
                    for result in WORKS[work](bench):
                        results.append(result)
                        raw.write(json.dumps(result.to_json()) + "\n")
                        raw.flush()
                        print(line(result), flush=True)
                except RuntimeError as error:
                    # The other works are worth having all the same.
                    print(f"{work} ended early: {error}", file=sys.stderr)
                    broken = True
        if not results and not broken:
            print(f"no program's name holds {' or '.join(asked.tool)}", file=sys.stderr)
            return 2
        titles = titles_of(bench)
        print_tables(results, titles)
        if asked.write:
            template = Path(__file__).with_name("BENCHMARKS.in.md")
            asked.write.write_text(report.document(template, bench, results, titles))
            print(f"\nwritten: {asked.write}")
    return 1 if broken or any(result.trouble for result in results) else 0


def stop(*_: object) -> None:
    """Ends everything in order, once: who asks again must not break into the ending."""
    for asking in (signal.SIGINT, signal.SIGTERM):
        signal.signal(asking, lambda *_: None)
    raise KeyboardInterrupt


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/peers", description=__doc__)
    parser.add_argument("--work", action="append", choices=list(WORKS), help="only this; W1 means W1 to W3; repeatable")
    parser.add_argument("--tool", action="append", default=[], help="only those whose name holds this; repeatable")
    parser.add_argument("--rounds", type=int, help="how often everyone has a turn (3)")
    parser.add_argument("--quick", action="store_true", help="smaller works, one round, the fastest peers")
    parser.add_argument("--write", type=Path, metavar="FILE", help="writes the document, too")
    parser.add_argument("--target", type=Path, default=PROJECT / "target", help="cargo's target folder")
    parser.add_argument("--program", type=Path, help="another agent-portail than the release build in it")
    asked = parser.parse_args()
    asked.target = asked.target.resolve()
    return asked


def titles_of(bench: Bench) -> dict[str, str]:
    titles = {work: sync_works.title(work, bench) for work in ("W1", "W2", "W3", "W4", "W5")}
    return titles | {
        "W6": "W6: from close() to the object, files of 4 KiB one by one",
        "W7": "W7: ever more files, in sync",
        "W8": f"W8: {burst.files(bench):,} new files at once",
        "W9": "W9: idle, {:,} files in {:,} directories watched".format(*scale.idle_size(bench)),
        "W10": "W10: `rm -rf` of {:,} directories beside {:,} watched ones".format(*removal.size(bench)),
        "W11": f"W11: presigned URLs from the link service, {urls.CLIENTS} clients, {urls.files(bench):,} files",
    }


def line(result: Result) -> str:
    """A result as it comes, on one line."""
    more = "".join(f"  {name} {value:.2f}" for name, value in result.more.items())
    trouble = "".join(f"\n    WRONG: {trouble}" for trouble in result.trouble[:5])
    return (
        f"{result.work:<4}{result.tool:<32} wall {result.wall:8.3f}  CPU {result.cpu:7.3f}  {result.memory:6.1f} MiB"
        f"  Garage {result.server_cpu:6.2f}  PostgreSQL {result.database_cpu:5.2f}  others {result.other_cpu:6.2f}"
        f"  {sum(result.requests.values())} requests{more}{trouble}"
    )


def print_tables(results: list[Result], titles: dict[str, str]) -> None:
    for work, title in titles.items():
        own = [result for result in results if result.work == work]
        if own:
            print(f"\n{title}\n\n{report.table(own)}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
