"""W11: presigned URLs from the link service, as many as it gives, and at a steady rate. No peer does this."""

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field

import generated
from agent import Agent
from bench import Bench
from latency import quantile
from listing import ListingServer
from measure import Meter, Result
from processes import Background, free_port
from tools import OURS

CLIENTS = 16
# A second, for the latencies.
RATE = 500
# MiB, a second, milliseconds: what it must keep to.
MEMORY, LEAST, LONGEST = 64, 2_000, 20


@dataclass
class Heard:
    """What the clients have got."""

    took: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def files(bench: Bench) -> int:
    return 10_000 if bench.quick else 100_000


def urls(bench: Bench) -> Iterator[Result]:
    seconds = 5 if bench.quick else 20
    root = generated.tree(bench, files(bench), per_directory=100)
    paths = [path for path, _ in generated.paths(root)]
    # Nobody lists it, and nothing is asked of it: a URL is signed without the store.
    with ListingServer(iter(()), 0, generated.EMPTY) as server:
        agent = Agent(bench.program, bench.home / "agent", root, server, "bench", bench.postgres)
        generated.record(agent)
        for number in range(bench.rounds):
            for name, rate in ((f"{OURS} urls, as many as it gives", None), (f"{OURS} urls, {RATE} a second", RATE)):
                if bench.wants(name):
                    with Service(agent) as service:
                        yield _measure(bench, service, paths, name, rate, seconds, number)


class Service(Background):
    """`agent-portail urls`."""

    def __init__(self, agent: Agent) -> None:
        self.port = free_port()
        tokens = agent.home / "tokens"
        tokens.unlink(missing_ok=True)
        env = agent.env | {
            "AGENT_PORTAIL__URLS__LISTEN": f"127.0.0.1:{self.port}",
            "AGENT_PORTAIL__URLS__MONITOR_LISTEN": f"127.0.0.1:{free_port()}",
            "AGENT_PORTAIL__URLS__TOKENS_FILE": str(tokens),
            # All clients are one to it.
            "AGENT_PORTAIL__URLS__RATE_LIMIT": "0",
            # A line for each URL, as by default.
            "AGENT_PORTAIL__LOG__METHOD": "stdout",
        }
        added = subprocess.run(
            agent.command("urls", "token", "add", "bench", "--scope", "link"),
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        self.token = added.stdout.strip()
        super().__init__(agent.command("urls"), env, agent.home / "urls.log")
        self._wait_until_listening()

    def _wait_until_listening(self) -> None:
        until = time.perf_counter() + 30
        while time.perf_counter() < until:
            self.check()
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5).close()
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
            else:
                return
        raise RuntimeError("the link service does not listen")


def _measure(
    bench: Bench, service: Service, paths: list[str], name: str, rate: int | None, seconds: float, number: int
) -> Result:
    # Each client's first requests make the connections and plans.
    _ask(service, paths, rate, 1)
    meter, before, began = Meter(bench, None), service.cpu(), time.perf_counter()
    heard = _ask(service, paths, rate, seconds)
    wall, cpu = time.perf_counter() - began, service.cpu() - before
    took = sorted(heard.took)
    more = {
        "urls_per_s": len(took) / wall,
        "p50_ms": quantile(took, 0.5),
        "p99_ms": quantile(took, 0.99),
        "cpu_ms": cpu * 1000 / max(1, len(took)),
    }
    memory, trouble = service.memory(), heard.wrong[:5]
    if memory > MEMORY:
        trouble.append(f"{memory:.0f} MiB of memory")
    if rate is None and more["urls_per_s"] < LEAST:
        trouble.append(f"{more['urls_per_s']:.0f} URLs a second only")
    if rate is not None and more["p99_ms"] > LONGEST:
        trouble.append(f"one in a hundred took {more['p99_ms']:.0f} ms or longer")
    return Result("W11", name, number, wall, cpu, memory, **meter.costs(cpu), more=more, trouble=trouble)


def _ask(service: Service, paths: list[str], rate: int | None, seconds: float) -> Heard:
    heard = Heard()
    begin = time.perf_counter() + 0.05
    clients = [
        threading.Thread(target=_client, args=(service, paths, index, rate, begin, begin + seconds, heard))
        for index in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return heard


def _client(
    service: Service, paths: list[str], index: int, rate: int | None, begin: float, end: float, heard: Heard
) -> None:
    took, step = [], index * 7919
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as line:
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # With a rate, each request has its time, and what it takes counts from there, whether the one before is done or not.
        due = begin + (index / rate if rate else 0)
        while True:
            now = time.perf_counter()
            if due > now:
                time.sleep(due - now)
            started = due if rate else time.perf_counter()
            if started >= end:
                break
            step += 104_729
            answer = _request(line, _post(service, paths[step % len(paths)]))
            took.append((time.perf_counter() - started) * 1000)
            if not answer.startswith(b"HTTP/1.1 201 ") or b"X-Amz-Signature=" not in answer:
                heard.wrong.append(answer[:200].decode(errors="replace"))
                break
            due += CLIENTS / rate if rate else 0
    heard.took.extend(took)


def _post(service: Service, path: str) -> bytes:
    body = json.dumps({"folder": "bench", "path": path, "expires_in": "1h"}).encode()
    head = (
        f"POST /api/v1/urls HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\nAuthorization: Bearer {service.token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _request(line: socket.socket, request: bytes) -> bytes:
    line.sendall(request)
    answer, length = b"", None
    while length is None or len(answer) < length:
        piece = line.recv(65536)
        if not piece:
            raise RuntimeError("the link service has closed a connection")
        answer += piece
        if length is None and (head := answer.find(b"\r\n\r\n")) >= 0:
            fields = answer[:head].lower().split(b"\r\n")
            body = next(int(field[15:]) for field in fields if field.startswith(b"content-length:"))
            length = head + 4 + body
    return answer
