"""Folders that are in sync although nothing was uploaded: files, rows from their fingerprints, a listing."""

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agent import Agent
from bench import Bench

EMPTY = hashlib.md5(b"").hexdigest()
COLUMNS = "folder_id, path, name, key, size, md5, modified_at, mode, etag, state, synced_at, mtime_ns, ctime_ns, inode"


def tree(bench: Bench, files: int, per_directory: int) -> Path:
    """A folder of empty files, made once and kept for later runs."""
    root = bench.kept / f"{files}-files-{per_directory}-each"
    made = root.with_suffix(".made")
    if not made.exists():
        for number in range(files):
            if number % per_directory == 0:
                directory = root / f"d{number // per_directory:06d}"
                directory.mkdir(parents=True, exist_ok=True)
            (directory / f"f{number:07d}").touch()
        os.sync()
        made.touch()
    return root


def paths(root: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Its files in byte order of their paths."""
    for directory in sorted(os.listdir(root)):
        entries = sorted(os.scandir(root / directory), key=lambda entry: entry.name)
        yield from ((f"{directory}/{entry.name}", entry) for entry in entries)


def record(agent: Agent) -> None:
    """Writes the catalog as if every file had been synced."""
    agent.run("migrate")
    folder = agent.sql(
        "INSERT INTO portail.folder (agent, name, path, endpoint, bucket, prefix) VALUES"
        f" ('bench', 'bench', '{agent.root}', '{agent.server.endpoint}', '{agent.bucket}', '') RETURNING id"
    ).strip()

    def rows() -> Iterator[tuple[object, ...]]:
        for path, entry in paths(agent.root):
            seen = entry.stat(follow_symlinks=False)
            when = datetime.fromtimestamp(seen.st_mtime, UTC).isoformat()
            yield (
                *(folder, path, entry.name, path, seen.st_size, rf"\\x{EMPTY}", when, seen.st_mode, EMPTY, "synced"),
                *("now", seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino),
            )

    agent.postgres.copy(agent.database, f"portail.file ({COLUMNS})", rows())
    # As autovacuum leaves a catalog that has been there for a while.
    agent.sql("VACUUM ANALYZE portail.file")
