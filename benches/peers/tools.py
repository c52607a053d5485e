"""The programs that bring a bucket in line with a folder once: how each is called."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent import Agent, Server, client_env
from bench import Bench
from trees import Tree

OURS = "agent-portail"
TUNED = ["--transfers", "32", "--checkers", "32", "--fast-list", "--checksum", "--s3-no-check-bucket"]


@dataclass(frozen=True)
class Job:
    """A command to run, and what else to check than the bucket."""

    command: list[str]
    env: dict[str, str]
    differences: Callable[[Tree], list[str]] = lambda _tree: []


Tool = Callable[[Bench, Path, Server, str], Job]


def ours(bench: Bench, root: Path, server: Server, bucket: str) -> Job:
    agent = Agent(bench.program, bench.home / "agent", root, server, bucket, bench.postgres)
    return Job(agent.command("sync"), agent.env, agent.differences)


def s5cmd(bench: Bench, root: Path, server: Server, bucket: str) -> Job:
    sync = ["--log", "error", "--endpoint-url", server.endpoint, "sync", "--delete", f"{root}/", f"s3://{bucket}/"]
    return Job([str(s5cmd_program(bench)), *sync], client_env(bench.home, server))


def s5cmd_program(bench: Bench) -> Path:
    """The program itself: the command of the package is a Python script around it."""
    return next(bench.venv.glob("lib/python*/site-packages/s5cmd/bin/s5cmd"))


def rclone(bench: Bench, root: Path, server: Server, bucket: str) -> Job:
    config = {
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "Other",
        "RCLONE_CONFIG_BENCH_ENV_AUTH": "true",
        "RCLONE_CONFIG_BENCH_ENDPOINT": server.endpoint,
        "RCLONE_CONFIG_BENCH_REGION": server.region,
        "RCLONE_CONFIG_BENCH_FORCE_PATH_STYLE": "true",
    }
    command = [str(bench.venv / "bin" / "rclone"), "sync", str(root), f"bench:{bucket}"]
    return Job(command, client_env(bench.home, server) | config)


def rclone_tuned(bench: Bench, root: Path, server: Server, bucket: str) -> Job:
    job = rclone(bench, root, server, bucket)
    return Job(job.command + TUNED, job.env)


def awscli(bench: Bench, root: Path, server: Server, bucket: str) -> Job:
    sync = ["s3", "sync", "--only-show-errors", "--delete", "--endpoint-url", server.endpoint]
    command = [str(bench.venv / "bin" / "aws"), *sync, str(root), f"s3://{bucket}/"]
    return Job(command, client_env(bench.home, server))


TOOLS: dict[str, Tool] = {
    OURS: ours,
    "s5cmd": s5cmd,
    "rclone tuned": rclone_tuned,
    "rclone": rclone,
    "awscli": awscli,
}
QUICK = [OURS, "s5cmd", "rclone tuned"]
