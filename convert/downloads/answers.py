"""What a web server's answer says: of a file, of a part of one, and why there is none."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import NoReturn

import requests

from common.errors import WorkError

BUSY = (429, 500, 502, 503, 504)
"""Statuses of servers that may do better in a moment."""


@dataclass(frozen=True)
class Remote:
    """What a server says of a file.

    Attributes:
        url: Its address.
        bytes: Its size; None where the server does not say.
        validator: What stands for its version in `If-Range`; None where there is nothing safe.
        md5: Its MD5 in hexadecimal digits, where the server gives one.
    """

    url: str
    bytes: int | None
    validator: str | None
    md5: str | None


class StaleError(Exception):
    """The part does not belong to the file that the server has now."""


def describe(response: requests.Response, url: str) -> Remote:
    """What an answer's headers say of the whole file."""
    headers = response.headers
    length, etag = headers.get("Content-Length", ""), headers.get("ETag", "")
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256" or (
        "x-amz-server-side-encryption-customer-algorithm" in headers
    )
    strong = etag if etag.startswith('"') else None  # a weak one stands for files that may differ in bytes
    return Remote(
        url=url,
        bytes=int(length) if length.isdigit() and "Content-Encoding" not in headers else None,
        validator=strong or headers.get("Last-Modified"),
        md5=_md5(headers.get("x-goog-hash", ""), etag, is_s3="x-amz-request-id" in headers and not encrypted),
    )


def _md5(google: str, etag: str, is_s3: bool) -> str | None:
    """The file's MD5, from Google's header or the ETag of Amazon's S3.

    An S3 ETag is the MD5 of a file that was uploaded in one piece and not encrypted with a key of one's own; of a file
    in several pieces it has a dash and says nothing.
    """
    if found := re.search(r"\bmd5=([A-Za-z0-9+/]{22}==)", google):
        return base64.b64decode(found[1]).hex()
    if is_s3 and (found := re.fullmatch(r'"([0-9a-f]{32})"', etag)):
        return found[1]
    return None


def check_file(response: requests.Response, url: str) -> None:
    """Refuse a web page where a file is expected.

    Raises:
        WorkError: It is one.
    """
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise WorkError(
            f"{url}: a web page came instead of the file. A network that wants a login, or a proxy that blocks, "
            "answers like that: open the address in a browser."
        )


def check_range(response: requests.Response, state: Remote, have: int) -> None:
    """Whether an answered range continues the part.

    Raises:
        StaleError: It is of another version, or begins elsewhere.
    """
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if not found or int(found[1]) != have or found[2] not in ("*", str(state.bytes)):
        raise StaleError(f"the server sent another range ({response.headers.get('Content-Range')}) than asked for")
    now = describe(response, state.url).validator
    if now is not None and now != state.validator:
        raise StaleError("the server's file is another one by now")


def refuse(url: str, response: requests.Response) -> NoReturn:
    """Say what an error's status means."""
    status = response.status_code
    said = f"{url}: the server answers {status} {response.reason}".rstrip()
    if status == 407:
        raise WorkError(f"{said}. The proxy wants a name and a password: HTTPS_PROXY=http://name:password@host:port.")
    if status in (401, 403):
        raise WorkError(
            f"{said}: access refused. Its publisher may have closed or moved it; --url names another place."
        )
    if status in (404, 410):
        raise WorkError(f"{said}: no such file. Its publisher may have moved it; --url names another place.")
    if status in BUSY:
        raise WorkError(f"{said}: busy or out of order. Run the same command again later; what has come is kept.")
    raise WorkError(f"{said}, expected the file. Open the address in a browser to see what it wants.")


def reason(error: BaseException) -> str:
    """What lies at the bottom of a connection's error, without addresses of objects."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    said = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = str(error) if isinstance(error, OSError) else said or type(error).__name__
    return re.sub(r"^.*object at 0x[0-9a-f]+>: |^[A-Za-z]+\(host=.*?\): ", "", text)
