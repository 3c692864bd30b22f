"""One file over HTTPS, as if the connection never broke: resumed by range, waited for, never mixed of two versions.

The bytes gather in a part file beside the goal. Beside the part lies what the server said of the file it belongs to
(RFC 9110: a strong ETag, else Last-Modified); with `If-Range` the server itself decides whether the rest still fits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import requests
from requests import exceptions
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from common.cli import print_warning, progress
from common.errors import UserError, WorkError
from common.files import PART, write_json
from common.paths import shown
from convert.downloads.answers import BUSY, Remote, StaleError, check_file, check_range, describe, reason, refuse
from convert.downloads.record import CHUNK

WAITS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
"""Seconds before each new attempt after a broken connection, as long as nothing comes."""

ANEW = 3
"""How often a download begins anew because the server's answer does not fit what has come: its file may have changed
meanwhile, but not again and again."""

SPARE, MOST_UNSTATED = 10**9, 20 * 10**9
"""Bytes that stay free on the disk, and that are taken at most, of a file whose size the server does not state."""

BACKOFF = 0.5
"""Seconds of the first wait for a server that is busy or cannot be reached; it doubles, four times."""

CONNECT_SECONDS, SILENT_SECONDS = 15, 60


class _DroppedError(Exception):
    """The connection was lost, and may come back."""


def part_path(target: Path) -> Path:
    """Where a file's bytes gather until it is whole."""
    return target.with_name(target.name + PART)


def discard(part: Path) -> None:
    """Delete a part, so that the next attempt begins anew."""
    for path in (part, _state_path(part)):
        path.unlink(missing_ok=True)


def need_space(folder: Path, size: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: Where the bytes are to go; it exists.
        size: Their number.

    Raises:
        WorkError: There is less free.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise WorkError(
            f"{shown(folder)}: {size / 1e9:.2f} GB are still to come, but only {free / 1e9:.2f} GB are free on this "
            "disk. Free some space, or choose another disk with --output."
        )


def fetch(url: str, part: Path, waits: Sequence[float] | None = None) -> Remote:
    """Download a file to `part`, going on where an earlier attempt ended.

    Args:
        url: The file's address, over HTTP or HTTPS; a proxy is taken from the environment, as by every program.
        part: Where to; its folder must exist. It is whole when this returns, as far as its size tells.
        waits: Seconds before each new attempt, counted anew whenever more has come than ever before; None takes
            `WAITS`.

    Raises:
        UserError: The address is none.
        WorkError: No connection, the server refuses or contradicts itself, something else than a file came, or the disk
            is full. What has come stays, so that the next call goes on.
    """
    waits = WAITS if waits is None else waits
    failed, anew, begun = 0, 0, False
    most = _size(part)
    with _session() as session:
        while True:
            try:
                return _fetch_rest(session, url, part, begun)
            except StaleError as error:
                if anew == ANEW:
                    raise WorkError(
                        f"{url}: the server's answers do not fit together ({error}), even after {ANEW} new beginnings. "
                        f"{_size(part):,} bytes are kept. Run the same command again later; --url names another place."
                    ) from error
                print_warning(f"{shown(part)}: {error}; beginning anew")
                if anew and waits:
                    time.sleep(waits[min(anew, len(waits)) - 1])
                anew += 1
                discard(part)
            except _DroppedError as error:
                begun = True
                if _size(part) > most:
                    failed, most = 0, _size(part)
                if failed == len(waits):
                    raise WorkError(
                        f"{url}: the connection was lost {failed + 1} times without anything new ({error}). "
                        f"{_size(part):,} bytes are kept; run the same command again to go on."
                    ) from error
                print_warning(f"connection lost at {_size(part):,} bytes; going on in {waits[failed]:.0f} s ({error})")
                time.sleep(waits[failed])
                failed += 1


def _fetch_rest(session: requests.Session, url: str, part: Path, begun: bool) -> Remote:
    """One attempt. Raises, besides what `fetch` does, `_DroppedError` and `StaleError`."""
    state = _read_state(part, url)
    have = _size(part) if state else 0
    if state and state.bytes == have:
        return state  # an earlier call was stopped between the last byte and the checks
    headers = {"Accept-Encoding": "identity"}  # compressed on the way, ranges and sizes would mean something else
    if state and state.validator and have:
        headers |= {"Range": f"bytes={have}-", "If-Range": state.validator}
    with contextlib.closing(_get(session, url, headers, begun)) as response:
        if response.status_code in (206, 416) and "Range" not in headers:
            refuse(url, response)  # an answer to what was not asked
        if response.status_code == 416:
            raise StaleError("longer than the file that the server has now")
        if state and response.status_code == 206:
            check_range(response, state, have)
        else:
            check_file(response, url)
            if have:
                print_warning(
                    f"{shown(part)}: the server begins at the first byte again; its file is another one by now, or it "
                    "cannot go on in the middle"
                )
            have, state = 0, describe(response, url)
        with _writing(part):
            need_space(part.parent, (state.bytes or 0) - have)
            write_json(_state_path(part), dataclasses.asdict(state))
            with part.open("ab" if have else "wb", buffering=0) as file:
                _receive(response, file, part, have, state.bytes)
    if state.bytes is not None and _size(part) != state.bytes:
        raise _DroppedError(f"{_size(part):,} of {state.bytes:,} bytes had come")
    return state


def _receive(response: requests.Response, file: IO[bytes], part: Path, have: int, total: int | None) -> None:
    """Write the answer's body behind a progress bar."""
    name = part.name.removesuffix(PART)
    what = f"downloading {name}" + (f", from {have / 1e6:,.0f} MB on" if have else "")
    count = math.ceil((total - have) / CHUNK) if total else None
    for came, _ in enumerate(progress(_write(response, file), what, count, unit="MiB"), start=1):
        if total is None:
            _check_unstated(part, came * CHUNK)


def _check_unstated(part: Path, came: int) -> None:
    """Stop what may never end, and delete it: without a size it could not be gone on with."""
    free = shutil.disk_usage(part.parent).free
    if free >= SPARE and came <= MOST_UNSTATED:
        return
    discard(part)
    raise WorkError(
        f"{shown(part)}: the server does not say how large the file is, and after {came / 1e9:.2f} GB there is no end, "
        f"with {free / 1e9:.2f} GB free on this disk. Deleted. Free some space, choose another disk with --output, or "
        "name another place with --url."
    )


def _write(response: requests.Response, file: IO[bytes]) -> Iterator[None]:
    """Write the body as it comes, so that hardly a byte of a broken connection is lost; yields once for each MiB."""
    pending = 0
    while True:
        try:
            data = response.raw.read1(CHUNK)  # `iter_content` would drop what it has of a piece that breaks off
        except HTTPError as error:
            raise _DroppedError(reason(error)) from error
        if not data:
            break
        view = memoryview(data)
        while view:
            view = view[file.write(view) :]
        pending += len(data)
        while pending >= CHUNK:
            pending -= CHUNK
            yield
    if pending:
        yield


def _session() -> requests.Session:
    """A session that tries again while a server is busy, or does not answer."""
    retry = Retry(
        total=4,
        backoff_factor=BACKOFF,
        status_forcelist=BUSY,
        allowed_methods={"GET"},
        raise_on_status=False,
    )
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def _get(session: requests.Session, url: str, headers: dict[str, str], begun: bool) -> requests.Response:
    """Ask for the file; an answer is a file, a part of it, or "out of range"."""
    try:
        response = session.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, SILENT_SECONDS))
    except (exceptions.InvalidURL, exceptions.MissingSchema, exceptions.InvalidSchema) as error:
        raise UserError(f"{url}: not an address of a file ({error}). Expected https://...; see --url.") from error
    except exceptions.ProxyError as error:
        raise WorkError(
            f"{url}: the proxy does not let it through ({reason(error)}). It is taken from HTTPS_PROXY or HTTP_PROXY: "
            "correct it, or unset it where none is needed."
        ) from error
    except exceptions.SSLError as error:
        raise WorkError(
            f"{url}: the server's certificate cannot be verified ({reason(error)}). Check the computer's clock; "
            "behind a proxy that opens encrypted connections, name its certificates in REQUESTS_CA_BUNDLE."
        ) from error
    except exceptions.RequestException as error:
        if begun:
            raise _DroppedError(reason(error)) from error
        raise WorkError(
            f"{url}: no connection ({reason(error)}). Check the network; behind a proxy, set HTTPS_PROXY. Run the "
            "same command again to go on."
        ) from error
    if response.status_code not in (200, 206, 416):
        with contextlib.closing(response):
            refuse(url, response)
    return response


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Turn what the disk objects to into a message; errors of the connection are none of its business."""
    try:
        yield
    except exceptions.RequestException:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise WorkError(
                f"{shown(part)}: the disk is full at {_size(part):,} bytes, which are kept. Free some space and run "
                "the same command again to go on."
            ) from error
        raise WorkError(
            f"{shown(part)}: cannot be written ({error.strerror}). Check the folder and its permissions."
        ) from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _state_path(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_state(part: Path, url: str) -> Remote | None:
    """What the part belongs to; None where there is no part, or nobody knows."""
    try:
        state = Remote(**json.loads(_state_path(part).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if part.is_file() and state.url == url and state.bytes else None
