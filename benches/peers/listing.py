"""A stand-in for S3 that can do nothing but list: for as many objects as would take hours to upload one by one."""

import threading
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 1000
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
    "<MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
)


class ListingServer:
    """Serves ListObjectsV2 over objects of one content. Keys come in byte order and need no escaping."""

    region, key_id, secret = "bench", "bench", "bench-secret"

    def __init__(self, keys: Iterable[str], size: int, md5: str) -> None:
        self.requests: Counter[str] = Counter()
        self._keys: list[str] = []
        # The entries as they are sent, one after another, and where each begins: a page is one read.
        self._entries = TemporaryFile()
        self._starts = array("Q", [0])
        self._lock = threading.Lock()
        for key in keys:
            entry = (
                f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{md5}&quot;</ETag><Size>{size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            ).encode()
            self._keys.append(key)
            self._entries.write(entry)
            self._starts.append(self._starts[-1] + len(entry))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> "ListingServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._entries.close()

    def count(self, operation: str) -> None:
        with self._lock:
            self.requests[operation] += 1

    def page(self, query: dict[str, str]) -> bytes:
        """The answer to a ListObjectsV2."""
        prefix = query.get("prefix", "")
        first = bisect_left(self._keys, prefix)
        if "continuation-token" in query:
            first = int(query["continuation-token"])
        elif "start-after" in query:
            first = max(first, bisect_right(self._keys, query["start-after"]))
        # The first text after all that begin with the prefix.
        end = bisect_left(self._keys, prefix + "\U0010ffff") if prefix else len(self._keys)
        last = min(first + min(PAGE, int(query.get("max-keys", PAGE))), end)
        with self._lock:
            self._entries.seek(self._starts[first])
            entries = self._entries.read(self._starts[last] - self._starts[first])
        more = last < end
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        head = f"{HEAD}<Prefix>{prefix}</Prefix><KeyCount>{last - first}</KeyCount>"
        head += f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return head.encode() + entries + b"</ListBucketResult>"


def _handler(listing: ListingServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
            if query.get("list-type") != "2" or "delimiter" in query:
                return self.refuse()
            listing.count("ListObjectsV2")
            self.answer(200, listing.page(query))

        def refuse(self) -> None:
            listing.count(self.command)
            body = b"<Error><Code>NotImplemented</Code><Message>this server only lists</Message></Error>"
            self.answer(501, b"" if self.command == "HEAD" else body)

        do_HEAD = do_PUT = do_POST = do_DELETE = refuse

        def answer(self, status: int, body: bytes) -> None:
            head = f"HTTP/1.1 {status} -\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
            # In one piece, or the second one would wait for the client's acknowledgement.
            self.wfile.write(head.encode() + body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler
