"""Tables of medians, for a terminal and for docs/BENCHMARKS.md."""

import platform
import re
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import median

from bench import Bench
from measure import Result

# A run beside which others used this share of a processor is marked: its wall time says little.
DISTURBED = 0.1


@dataclass(frozen=True)
class Column:
    """A heading, and what is under it for the results of one tool."""

    title: str
    cell: Callable[[list[Result]], str]


def spread(values: Iterable[float], digits: int) -> str:
    """The median, and from where to where the values go if there are several."""
    known = sorted(values)
    if len(known) == 1:
        return f"{known[0]:.{digits}f}"
    return f"{median(known):.{digits}f} ({known[0]:.{digits}f} to {known[-1]:.{digits}f})"


def number(title: str, name: str, digits: int) -> Column:
    """Of a field of the result, or of `more`."""

    def cell(results: list[Result]) -> str:
        values = [result.more.get(name, getattr(result, name, None)) for result in results]
        known = [value for value in values if value is not None]
        return spread(known, digits) if known else ""

    return Column(title, cell)


def requests(results: list[Result]) -> str:
    """Of one run, which stands for all: the one in the middle by number."""
    runs = sorted((result.requests for result in results), key=lambda run: sum(run.values()))
    run = runs[len(runs) // 2]
    ordered = sorted(run.items(), key=lambda item: -item[1])
    return ", ".join(f"{count:,} {operation}" for operation, count in ordered) or "none"


def other(results: list[Result]) -> str:
    mark = " *" if any(result.other_cpu > DISTURBED * result.wall for result in results) else ""
    return spread((result.other_cpu for result in results), 2) + mark


WALL, CPU, MEMORY = number("wall s", "wall", 2), number("CPU s", "cpu", 2), number("peak MiB", "memory", 0)
SERVERS = [number("Garage CPU s", "server_cpu", 2), number("PostgreSQL CPU s", "database_cpu", 2)]
REQUESTS, OTHER = Column("S3 requests", requests), Column("others' CPU s", other)
PASS = [WALL, CPU, MEMORY, *SERVERS, OTHER, REQUESTS]
COLUMNS: dict[str, list[Column]] = {
    "W6": [
        *(number("p50 ms", "p50_ms", 1), number("p99 ms", "p99_ms", 1), number("CPU ms a file", "cpu_ms", 2)),
        # Not Garage's CPU: most of it goes into asking for the object.
        *(MEMORY, SERVERS[1], OTHER),
    ],
    "W7": [WALL, CPU, MEMORY, SERVERS[1], OTHER, REQUESTS],
    "W8": [number("files a second", "files_per_s", 0), *PASS, number("writing them s", "write_s", 2)],
    "W9": [
        *(number("watches", "watches", 0), number("CPU %", "percent", 3)),
        number("PostgreSQL CPU %", "database_percent", 3),
        *(number("resident MiB", "resident_mb", 0), MEMORY, number("seconds", "wall", 0), OTHER),
    ],
    "W11": [
        *(number("URLs a second", "urls_per_s", 0), number("p50 ms", "p50_ms", 1), number("p99 ms", "p99_ms", 1)),
        *(number("CPU ms a URL", "cpu_ms", 2), MEMORY, SERVERS[1], number("seconds", "wall", 0), OTHER),
    ],
    "W10": [
        *(number("rm -rf s", "rm_s", 2), number("all gone after its end s", "wall", 2), CPU, MEMORY, *SERVERS),
        *(number("saved meanwhile: p50 ms", "heard_p50_ms", 0), number("longest ms", "heard_max_ms", 0), OTHER),
    ],
}


def table(results: list[Result]) -> str:
    """Of one work, a row a tool, in Markdown."""
    columns = COLUMNS.get(results[0].work, PASS)
    tools = list(dict.fromkeys(result.tool for result in results))
    lines = [["", *(column.title for column in columns)], ["---"] * (len(columns) + 1)]
    for tool in sorted(tools, key=lambda tool: not tool.startswith("agent-portail")):
        own = [result for result in results if result.tool == tool]
        wrong = sum(bool(result.trouble) for result in own)
        name = f"{tool} (**{wrong} of {len(own)} runs wrong**)" if wrong else tool
        lines.append([name, *(column.cell(own) for column in columns)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(template: str, values: dict[str, str]) -> str:
    """Puts the values in the places of `{{name}}`; every place must have one."""
    return re.sub(r"\{\{(\w+)\}\}", lambda place: values[place[1]], template)


def document(template: Path, bench: Bench, results: list[Result], titles: dict[str, str]) -> str:
    tables = []
    for work, title in titles.items():
        own = [result for result in results if result.work == work]
        tables.append(f"### {title}\n\n{table(own) if own else 'Not run.'}\n")
    values = {
        "date": date.today().isoformat(),
        "machine": machine(bench.home),
        "versions": versions(bench),
        "rounds": str(bench.rounds),
        "tables": "\n".join(tables).strip(),
    }
    return fill(template.read_text(), values)


def machine(home: Path) -> str:
    cpuinfo, meminfo = Path("/proc/cpuinfo").read_text(), Path("/proc/meminfo").read_text()
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    memory = re.search(r"MemTotal:\s+(\d+)", meminfo)
    processors = len(re.findall(r"^processor", cpuinfo, re.M))
    file_system = _told(["findmnt", "-n", "-o", "FSTYPE", "-T", str(home)])
    release = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    return ", ".join(
        [
            f"{processors} x {model[1] if model else platform.machine()}",
            f"{int(memory[1]) >> 20 if memory else '?'} GiB",
            release[1] if release else platform.system(),
            f"Linux {platform.release().split('-')[0]}",
            f"files on {file_system}",
        ]
    )


def versions(bench: Bench) -> str:
    bin = bench.venv / "bin"
    told = [
        _told([str(bench.program), "--version"]),
        f"s5cmd {_told([str(bin / 's5cmd'), 'version']).split('-')[0]}",
        _told([str(bin / "rclone"), "version"]).splitlines()[0],
        _told([str(bin / "aws"), "--version"]).split()[0].replace("/", " "),
        "mobius3 " + _told([str(bin / "pip"), "show", "mobius3"]).splitlines()[1].removeprefix("Version: "),
        _told(["inotifywait", "--help"]).splitlines()[0],
        f"Garage {_garage_version()}",
        f"PostgreSQL {bench.postgres.version()}",
    ]
    return ", ".join(told)


def _garage_version() -> str:
    script = Path(__file__).parents[2] / "tests" / "garage.sh"
    found = re.search(r"^version=(\S+)", script.read_text(), re.M)
    return found[1] if found else "?"


def _told(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).strip() or "?"
