"""The bucket as the bench sees it: made before a tool runs, and held against the tree afterwards."""

import hashlib
import http.client
import time
from urllib.parse import urlsplit

import botocore.session  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]

from garage import Garage
from trees import Tree, part_size_of


class Store:
    """A bucket of a server."""

    def __init__(self, server: Garage, bucket: str) -> None:
        self.server, self.bucket = server, bucket
        self._client = botocore.session.Session().create_client(
            "s3",
            endpoint_url=server.endpoint,
            region_name=server.region,
            aws_access_key_id=server.key_id,
            aws_secret_access_key=server.secret,
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4"),
        )
        self._client.create_bucket(Bucket=bucket)

    def objects(self) -> dict[str, tuple[int, str]]:
        """Size and ETag by key."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        listed = (entry for page in pages for entry in page.get("Contents", []))
        return {entry["Key"]: (entry["Size"], entry["ETag"].strip('"')) for entry in listed}

    def differences(self, tree: Tree) -> list[str]:
        """What of the bucket is not as in the tree: keys, sizes and MD5s."""
        objects, found = self.objects(), []
        found += [f"{path}: missing" for path in sorted(tree.files.keys() - objects.keys())]
        found += [f"{key}: not in the tree" for key in sorted(objects.keys() - tree.files.keys())]
        for path in tree.files.keys() & objects.keys():
            size, etag = objects[path]
            if size != tree.files[path].size or not self._has_content(tree, path, etag):
                found.append(f"{path}: other content")
        return found

    def _has_content(self, tree: Tree, path: str, etag: str) -> bool:
        if "-" not in etag:
            return etag == tree.files[path].md5
        if part_size_of(tree.root / path, etag):
            return True
        # Cut in a way of its own: nothing but its bytes can tell.
        body = self._client.get_object(Bucket=self.bucket, Key=path)["Body"]
        digest = hashlib.md5()
        for block in body.iter_chunks(1 << 20):
            digest.update(block)
        return digest.hexdigest() == tree.files[path].md5

    def head_url(self, key: str) -> str:
        """A signed HEAD, to be asked often at little cost."""
        params = {"Bucket": self.bucket, "Key": key}
        return str(self._client.generate_presigned_url("head_object", Params=params, ExpiresIn=3600))


class Lookout:
    """Waits for objects to appear, over one connection."""

    # Each look costs the server something, so they are not back to back; half of it is the error of a latency.
    PAUSE = 0.001

    def __init__(self, store: Store) -> None:
        self._store = store
        self._connection = http.client.HTTPConnection(urlsplit(store.server.endpoint).netloc)

    def prepare(self, key: str) -> str:
        """What to ask for, made beforehand since signing takes longer than asking."""
        url = urlsplit(self._store.head_url(key))
        return f"{url.path}?{url.query}"

    def wait_for(self, prepared: str, patience: float) -> bool:
        """Whether the object was there in time."""
        until = time.perf_counter() + patience
        while time.perf_counter() < until:
            self._connection.request("HEAD", prepared)
            answer = self._connection.getresponse()
            answer.read()
            if answer.status == 200:
                return True
            time.sleep(self.PAUSE)
        return False
