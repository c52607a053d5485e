"""Of the ruler itself: what it would tell wrongly without anybody noticing."""

import hashlib
import random
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

import trees
from garage import parse_metrics
from latency import quantile
from listing import ListingServer
from measure import Result
from processes import run
from report import fill, spread, table


class Trees(unittest.TestCase):
    def setUp(self) -> None:
        self.home = tempfile.TemporaryDirectory()
        self.addCleanup(self.home.cleanup)
        self.root = Path(self.home.name) / "tree"

    def test_a_seed_makes_the_same_tree_each_time(self) -> None:
        one, two = trees.small(self.root, 20, seed=1), trees.small(self.root, 20, seed=1)
        self.assertEqual(one.files, two.files)
        self.assertNotEqual(one.files, trees.small(self.root, 20, seed=2).files)

    def test_a_tree_tells_what_its_files_hold_also_after_a_change(self) -> None:
        tree = trees.small(self.root, 20, seed=1)
        before = dict(tree.files)
        trees.change(tree, changed=3, deleted=2, seed=2)
        self.assertEqual(len(before.keys() - tree.files.keys()), 2)
        self.assertEqual(sum(before[path] != file for path, file in tree.files.items()), 3)
        on_disk = {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*.bin")}
        self.assertEqual(
            {path: hashlib.md5(content).hexdigest() for path, content in on_disk.items()},
            {path: file.md5 for path, file in tree.files.items()},
        )

    def test_the_parts_of_an_etag_are_found(self) -> None:
        tree = trees.large(self.root, [11 * trees.MIB, 10 * trees.MIB], seed=3)
        for path, parts in zip(tree.files, (3, 2), strict=True):
            etag = trees.composite_etag(self.root / path, 5 * trees.MIB)
            self.assertTrue(etag.endswith(f"-{parts}"))
            self.assertEqual(trees.part_size_of(self.root / path, etag), 5 * trees.MIB)
            self.assertIsNone(trees.part_size_of(self.root / path, "0" * 32 + f"-{parts}"))


class Measuring(unittest.TestCase):
    def test_children_count_and_a_hanging_command_is_given_up(self) -> None:
        busy = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
        with tempfile.TemporaryDirectory() as home:
            log = Path(home) / "log"
            alone = run(["sh", "-c", busy], {}, log, 60)
            nested = run(["sh", "-c", f"sh -c '{busy}'; exit 3"], {}, log, 60)
            hanging = run(["sleep", "60"], {"PATH": "/bin:/usr/bin"}, log, 0.2)
        self.assertEqual((alone.code, nested.code, hanging.code), (0, 3, None))
        self.assertGreater(nested.cpu, alone.cpu / 3)
        self.assertGreater(alone.memory, 0.1)
        self.assertLess(hanging.wall, 10)

    def test_only_counters_of_requests_are_read(self) -> None:
        text = """# HELP x
api_s3_request_counter{api_endpoint="PutObject",otel_scope_name="garage"} 12
api_s3_request_counter{api_endpoint="ListObjectsV2"} 1e+3
api_s3_error_counter{api_endpoint="PutObject"} 3
"""
        self.assertEqual(parse_metrics(text), {"PutObject": 12, "ListObjectsV2": 1000})


class Listing(unittest.TestCase):
    def test_every_key_is_listed_once_whatever_it_begins_with(self) -> None:
        keys = [f"a/{number:04}" for number in range(2500)] + ["b/0"]
        with ListingServer(keys, 7, "f" * 32) as listing:
            self.assertEqual(self.all(listing, {}), keys)
            self.assertEqual(self.all(listing, {"prefix": "a/2"}), keys[2000:2500])
            self.assertEqual(self.all(listing, {"start-after": "a/2498"}), ["a/2499", "b/0"])

    @staticmethod
    def all(listing: ListingServer, query: dict[str, str]) -> list[str]:
        keys: list[str] = []
        while True:
            page = listing.page(query).decode()
            keys += [entry.partition("<")[0] for entry in page.split("<Key>")[1:]]
            _, more, token = page.partition("<NextContinuationToken>")
            if not more:
                return keys
            query = query | {"continuation-token": token.partition("<")[0]}


class Telling(unittest.TestCase):
    def test_medians_and_quantiles(self) -> None:
        values = [float(value) for value in random.Random(1).sample(range(1, 101), 100)]
        self.assertEqual((quantile(values, 0.5), quantile(values, 0.99), quantile(values, 1)), (51, 100, 100))
        self.assertEqual(spread([3, 1, 2], 1), "2.0 (1.0 to 3.0)")
        self.assertEqual(spread([2], 1), "2.0")

    def test_a_wrong_result_shows(self) -> None:
        good = Result("W1", "good", 0, 1, 1, 1, 1, 0, 0)
        bad = replace(good, tool="bad", trouble=["a: missing"])
        lines = table([bad, good]).splitlines()
        self.assertIn("wrong", next(line for line in lines if "bad" in line))
        self.assertNotIn("wrong", next(line for line in lines if "good" in line))

    def test_every_place_of_the_document_is_filled(self) -> None:
        self.assertEqual(fill("a {{b}} c", {"b": "x"}), "a x c")
        self.assertRaises(KeyError, fill, "{{unknown}}", {})


if __name__ == "__main__":
    unittest.main()
