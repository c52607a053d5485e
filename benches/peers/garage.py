"""Garage, the S3 server: started for one tool and thrown away, so that nobody pays for what others have left."""

import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

from processes import cpu_of_tree, free_port, kill_and_wait

SCRIPT = Path(__file__).parents[2] / "tests" / "garage.sh"
# The S3 API, and at these distances from it what else Garage listens on.
PORTS = range(4)


class Garage:
    """A running server. Its files are in `home`, which goes with it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._env = dict(os.environ, PORT=str(free_port(among=PORTS)))

    def __enter__(self) -> "Garage":
        try:
            self._script("start", str(self.home))
        except BaseException:
            self.__exit__()
            raise
        told = dict(re.findall(r"export (\w+)=(\S+)", self._script("env")))
        self.endpoint = told["TEST_S3_ENDPOINT"]
        self.region = told["TEST_S3_REGION"]
        self.key_id = told["TEST_S3_ACCESS_KEY_ID"]
        self.secret = told["TEST_S3_SECRET_ACCESS_KEY"]
        self._metrics = told["TEST_S3_METRICS"]
        self.pid = int((self.home / "pid").read_text())
        return self

    def __exit__(self, *_: object) -> None:
        told = self.home / "pid"
        if told.exists():
            # Nothing of it is needed any more, and to end in order takes it ten seconds.
            kill_and_wait(int(told.read_text()))
        shutil.rmtree(self.home, ignore_errors=True)

    def _script(self, *args: str) -> str:
        # In a session of its own, or Ctrl-C would end it in the middle of starting or stopping.
        done = subprocess.run(
            [str(SCRIPT), *args], env=self._env, capture_output=True, text=True, start_new_session=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"tests/garage.sh {args[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def cpu(self) -> float:
        return cpu_of_tree(self.pid)

    def requests(self) -> dict[str, int]:
        """S3 requests since the start, by operation."""
        with urllib.request.urlopen(self._metrics, timeout=10) as answer:
            return parse_metrics(answer.read().decode())


def parse_metrics(text: str) -> dict[str, int]:
    """The counters of S3 requests in Prometheus' text format."""
    line = re.compile(r'^api_s3_request_counter\{[^}]*api_endpoint="(\w+)"[^}]*\} ([\d.e+]+)', re.M)
    return {operation: int(float(count)) for operation, count in line.findall(text)}
