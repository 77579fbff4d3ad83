"""Moto's server, which speaks Amazon's S3 protocol. What it keeps is in its memory: a restart begins empty."""

from __future__ import annotations

import secrets
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote

from tests.support.stores.process import LOOPBACK, PYTHON_SERVERS, StoreServer

ACCESS_KEY, SECRET_KEY, REGION = "AKIAEXAMPLE", "s3cret/key+", "eu-west-1"


class Moto(StoreServer):
    """Any access key is right until `ask_for_permission`."""

    name = "moto"

    @staticmethod
    def is_installed() -> bool:
        """Whether its package is there."""
        return (PYTHON_SERVERS / "bin" / "moto_server").exists()

    def command(self) -> Sequence[str]:
        return (str(PYTHON_SERVERS / "bin" / "moto_server"), "-H", LOOPBACK, "-p", str(self.port))

    @property
    def url(self) -> str:
        """Endpoint."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def address(self) -> str:
        """Of a store in a bucket of its own."""
        credentials = f"{ACCESS_KEY}:{quote(SECRET_KEY, safe='')}"
        return f"s3://{credentials}@{REGION}/{self.new_bucket()}?pathstyle=true&endpoint={self.url}"

    def new_bucket(self) -> str:
        """Name of an empty bucket that nobody else was given."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.request("PUT", f"/{name}", headers={"x-amz-acl": "public-read-write"})  # other programs do not sign here
        return name

    def ask_for_permission(self, *, wanted: bool) -> None:
        """From now on refuse keys that nobody was given, which are all."""
        self.request("POST", "/moto-api/reset-auth", b"0" if wanted else b"1000000000")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        """Talk to it without a signature, as another program; what it answered."""
        every = {"Content-Type": "application/octet-stream", **(headers or {})}
        request = urllib.request.Request(f"{self.url}{path}", body, every, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
        return content
