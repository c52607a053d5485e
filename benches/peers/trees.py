"""Trees of files that a seed makes, the same for every tool and round, and what must be in the bucket afterwards."""

import hashlib
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

MIB = 1 << 20
SMALL = 4096
# What tools cut large objects into, to tell their ETags. A tool that does otherwise is read back.
PART_SIZES = tuple(size * MIB for size in (5, 8, 10, 15, 16, 32, 50, 64, 100, 128, 256))


@dataclass(frozen=True)
class File:
    """What a file holds."""

    size: int
    md5: str


@dataclass
class Tree:
    """A folder, and what its files hold by relative path."""

    root: Path
    files: dict[str, File] = field(default_factory=dict)

    def write(self, path: str, content: bytes) -> None:
        """Writes a file whose directory is there."""
        (self.root / path).write_bytes(content)
        self.files[path] = File(len(content), hashlib.md5(content).hexdigest())

    def remove(self, path: str) -> None:
        (self.root / path).unlink()
        del self.files[path]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files.values())


def empty(root: Path) -> Tree:
    """An empty folder in the place of whatever was there."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    return Tree(root)


def small(root: Path, count: int, seed: int, directories: int = 100) -> Tree:
    """`count` files of 4 KiB, spread over `directories`."""
    tree = empty(root)
    fill(tree, small_files(count, seed, directories))
    return tree


def small_files(count: int, seed: int, directories: int) -> Iterator[tuple[str, bytes]]:
    rng = random.Random(seed)
    for number in range(count):
        yield f"d{number % directories:04d}/f{number:06d}.bin", rng.randbytes(SMALL)


def fill(tree: Tree, files: Iterable[tuple[str, bytes]]) -> None:
    """Writes the files, and makes each directory right before its first one."""
    made: set[str] = set()
    for path, content in files:
        directory = path.rpartition("/")[0]
        if directory not in made:
            (tree.root / directory).mkdir(parents=True, exist_ok=True)
            made.add(directory)
        tree.write(path, content)


def large(root: Path, sizes: list[int], seed: int) -> Tree:
    """One file of each size, in bytes. No two blocks are equal, since Garage would store those only once."""
    tree = empty(root)
    rng = random.Random(seed)
    for number, size in enumerate(sizes):
        path, digest, left = f"f{number:04d}.bin", hashlib.md5(), size
        with (root / path).open("wb") as file:
            while left:
                block = rng.randbytes(min(left, MIB))
                digest.update(block)
                file.write(block)
                left -= len(block)
        tree.files[path] = File(size, digest.hexdigest())
    return tree


def change(tree: Tree, changed: int, deleted: int, seed: int) -> None:
    """Gives some files other content of the same size, and removes others."""
    rng = random.Random(seed)
    chosen = rng.sample(sorted(tree.files), changed + deleted)
    for path in chosen[:changed]:
        tree.write(path, rng.randbytes(tree.files[path].size))
    for path in chosen[changed:]:
        tree.remove(path)


def composite_etag(path: Path, part_size: int) -> str:
    """The ETag of a multipart upload: the MD5 of the parts' MD5s, and their number."""
    digests = []
    with path.open("rb") as file:
        while True:
            part, left = hashlib.md5(), part_size
            while left and (block := file.read(min(left, MIB))):
                part.update(block)
                left -= len(block)
            if left == part_size:
                break
            digests.append(part.digest())
            if left:
                break
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


@cache
def _composite_etag(path: Path, _modified_ns: int, part_size: int) -> str:
    return composite_etag(path, part_size)


def part_size_of(path: Path, etag: str) -> int | None:
    """In which of the usual parts the file has this ETag; none if in none of them."""
    parts, stat = int(etag.partition("-")[2]), path.stat()
    for part_size in PART_SIZES:
        fits = -(-stat.st_size // part_size) == parts
        if fits and _composite_etag(path, stat.st_mtime_ns, part_size) == etag:
            return part_size
    return None
