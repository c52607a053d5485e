"""Processes: running them, ending them, and what they cost."""

import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

TICK = os.sysconf("SC_CLK_TCK")
# Between two looks at a process' memory. Its peak is kept by the kernel; only what grows after the last look is missed.
LOOK = 0.005


def free_port(*, among: range = range(1)) -> int:
    """A port on loopback that is free now, together with those at these distances from it."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        try:
            for distance in among:
                with socket.socket() as other:
                    other.bind(("127.0.0.1", port + distance))
        except (OSError, OverflowError):
            continue
        return port


def tree_of(pid: int) -> Iterator[int]:
    """A process and all below it."""
    yield pid
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                yield from tree_of(int(child))
    except OSError:
        return


def cpu_of_tree(pid: int) -> float:
    """Seconds, user and system, of a process and all below it, those that have ended included."""
    return sum(_cpu(process) for process in tree_of(pid))


def _cpu(pid: int) -> float:
    try:
        # The name, in parentheses, may hold anything; the numbers follow it. Those of waited-for children come last.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICK


def cpu_of_machine() -> float:
    """Seconds that all processors together were busy since the machine began."""
    fields = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    user, nice, system, _idle, _wait, irq, softirq = fields[:7]
    return (user + nice + system + irq + softirq) / TICK


def memory_of_tree(pid: int, what: str = "VmHWM") -> float:
    """MiB: the peaks of the processes together, or with `VmRSS` what they hold now."""
    total = 0
    for process in tree_of(pid):
        try:
            found = re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{process}/status").read_text())
        except OSError:
            continue
        total += int(found[1]) if found else 0
    return total / 1024


class Background:
    """A process that stays until it is told to go."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log, self._command = log, command
        # A group of its own: Ctrl-C is for us, and we end it in order.
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                command, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu(self) -> float:
        return cpu_of_tree(self.pid)

    def memory(self, what: str = "VmHWM") -> float:
        return memory_of_tree(self.pid, what)

    def check(self) -> None:
        """Complains if it has ended by itself."""
        if self.process.poll() is not None:
            raise RuntimeError(f"{self._command[0]} ended with {self.process.returncode}: {tail(self.log)}")

    def stop(self) -> None:
        """Ends it in order, and after some seconds by force."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            if end_group(self.process.pid, how):
                try:
                    self.process.wait(15)
                except subprocess.TimeoutExpired:
                    continue
        self.process.wait(15)


def end_group(pid: int, how: signal.Signals) -> bool:
    """Signals the processes of a group that we have made; answers whether there were any."""
    try:
        os.killpg(pid, how)
    except ProcessLookupError:
        return False
    return True


def kill_and_wait(pid: int) -> None:
    """Ends a process that somebody else has started for us, at once."""
    while _state(pid) not in ("Z", "X"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _state(pid: int) -> str:
    """As /proc tells it; X for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


@dataclass(frozen=True)
class Ended:
    """A process that was run to its end."""

    code: int | None
    wall: float
    cpu: float
    memory: float
    output: str


def run(command: list[str], env: dict[str, str], log: Path, patience: float) -> Ended:
    """Runs a command to its end, or for `patience` seconds (then the code is none)."""
    began = time.perf_counter()
    process = Background(command, env, log)
    peak, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            peak[0] = max(peak[0], process.memory())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    given_up = threading.Timer(patience, end_group, (process.pid, signal.SIGKILL))
    given_up.start()
    try:
        # What the kernel counts for it and for all that it has waited for, to the microsecond.
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - began
    except BaseException:
        process.stop()
        raise
    finally:
        given_up.cancel()
        over.set()
    process.process.returncode = os.waitstatus_to_exitcode(status)
    looking.join()
    killed = process.process.returncode == -signal.SIGKILL and wall >= patience
    return Ended(
        code=None if killed else process.process.returncode,
        wall=wall,
        cpu=usage.ru_utime + usage.ru_stime,
        memory=peak[0],
        output=tail(log),
    )


def tail(log: Path) -> str:
    return log.read_bytes()[-600:].decode("utf-8", "replace").strip()
