"""What all works share: where things are, and what was asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from garage import Garage
from postgres import Postgres


@dataclass(frozen=True)
class Bench:
    """One run of the bench."""

    program: Path
    venv: Path
    # Goes when the run ends.
    home: Path
    # Trees that take long to make, and that no work changes, stay for the next run.
    kept: Path
    postgres: Postgres
    tools: list[str]
    rounds: int
    quick: bool

    @contextmanager
    def garage(self) -> Iterator[Garage]:
        with Garage(self.home / "garage") as server:
            yield server

    def wants(self, name: str) -> bool:
        return not self.tools or any(tool in name for tool in self.tools)

    def in_turn(self, names: list[str]) -> Iterator[tuple[int, str]]:
        """Every round has everyone once, each time another one first, so that no order favours anybody."""
        names = [name for name in names if self.wants(name)]
        for number in range(self.rounds):
            first = number % len(names) if names else 0
            for name in names[first:] + names[:first]:
                yield number, name
