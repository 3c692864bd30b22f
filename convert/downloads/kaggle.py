"""Kaggle's own client as a tool: run so that its output stays live, and its failures put into clear words.

It is no dependency of this project: whoever has the data may go without. Written after the client's version 2.2.5; what
older ones (from 1.5.14, the first to resume) do otherwise is said where it matters.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TextIO

from common.errors import UserError, WorkError
from common.paths import shown

MARKER = ".kaggle-partial"
"""Follows the name of a file that the client has not finished: which version of the remote file it belongs to."""

_REMEMBERED = 20_000  # characters of the client's output that are looked through for a reason
_PATIENCE_SECONDS = 10

_CREDENTIALS = (
    "make a token on https://www.kaggle.com/settings/api (free account) and put it into KAGGLE_API_TOKEN or "
    "~/.kaggle/access_token, or run `kaggle auth login`; older clients take KAGGLE_USERNAME and KAGGLE_KEY or "
    "~/.kaggle/kaggle.json"
)


def rules_page(competition: str) -> str:
    """Where a competition's rules are read and accepted."""
    return f"https://www.kaggle.com/competitions/{competition}/rules"


def find_client() -> str:
    """The client's program.

    Raises:
        UserError: It is not installed.
    """
    beside = Path(sys.executable).parent  # an environment that is used without being activated
    found = shutil.which("kaggle") or shutil.which("kaggle", path=os.fspath(beside))
    if not found:
        raise UserError(
            "kaggle: Kaggle's client is not installed. Install it with `pip install kaggle`, or download the zip by "
            "browser; datasets/README.md says where from and where to."
        )
    return found


def download_competition(competition: str, folder: Path) -> Path:
    """Have the client download all of a competition's files as one zip.

    The client goes on with what lies in the folder already, where it can prove that it belongs to the same file.

    Args:
        competition: Its name in Kaggle's addresses.
        folder: Where to. It exists and holds nothing else.

    Returns:
        The zip, as the client left it. The client also ends without an error when it was stopped.

    Raises:
        UserError: There is no client, no credentials, or the rules were not accepted.
        WorkError: The connection, Kaggle, the disk or the client failed.
        KeyboardInterrupt: The user stopped it.
    """
    client = find_client()
    target = folder / f"{competition}.zip"
    command = [client, "competitions", "download", "-c", competition, "-p", os.fspath(folder)]
    before = _state(target)
    status, output = _run(command)
    if status == 0 and target.is_file() and _state(target) == before and not _is_finished(target):
        # "Skipping, found more recently modified local copy": older clients go by the time alone.
        status, output = _run([*command, "--force"])
    if status != 0:
        raise _explain(status, output, competition, folder)
    if "User cancelled operation" in output:
        raise KeyboardInterrupt
    if not target.is_file():
        found = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
        raise WorkError(f"{shown(target)}: Kaggle's client ended without an error, but not there; found {found}.")
    return target


def _is_finished(path: Path) -> bool:
    from convert.downloads.checks import is_zip

    return is_zip(path)


def _state(path: Path) -> tuple[int, int] | None:
    return (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Run the client; its status, and the end of what it said on both streams.

    What it writes is passed on at once, so that its progress bar moves. It gets no input: it must not wait for an
    answer that nobody gives.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with contextlib.suppress(OSError, ValueError, AttributeError):
        size = os.get_terminal_size(sys.stderr.fileno())  # of a pipe, the client would find none
        environment |= {"COLUMNS": str(size.columns), "LINES": str(size.lines)}
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    readers = [
        threading.Thread(target=_pass_on, args=(pipe, stream, said), daemon=True)
        for pipe, stream in ((process.stdout, sys.stdout), (process.stderr, sys.stderr))
    ]
    for reader in readers:
        reader.start()
    try:
        status = process.wait()
    except KeyboardInterrupt:
        _stop(process)
        raise
    finally:
        for reader in readers:
            reader.join(_PATIENCE_SECONDS)
        process.stdout.close()
        process.stderr.close()
    return status, "".join(said)[-_REMEMBERED:]


def _pass_on(pipe: IO[bytes], stream: TextIO, said: list[str]) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while data := os.read(pipe.fileno(), 65536):
        text = decoder.decode(data)
        said.append(text)
        if len(said) > 2 * _REMEMBERED:
            del said[:_REMEMBERED]
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more; the download goes on
            stream.write(text)
            stream.flush()


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the client after Ctrl-C, which a terminal has sent to it as well; what it has downloaded stays."""
    for end in (lambda: None, lambda: process.send_signal(signal.SIGINT), process.terminate, process.kill):
        end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE_SECONDS / 5)
            return


def _explain(status: int, output: str, competition: str, folder: Path) -> UserError:
    """The client's failure as an error that says what to do."""

    def said(pattern: str) -> bool:
        return re.search(pattern, output, re.IGNORECASE) is not None

    if said(r"proxyerror|cannot connect to proxy|407 proxy"):
        return WorkError(
            "The proxy does not let Kaggle's client through. It is taken from HTTPS_PROXY: correct it, or unset it "
            "where none is needed."
        )
    if said(r"\b401\b.{0,3}client error|unauthorized|authentication required|could not find kaggle\.json"):
        return UserError(f"Kaggle does not know who asks (no credentials, or invalid ones): {_CREDENTIALS}.")
    if said(r"\b403\b.{0,3}client error|forbidden|must accept this competition"):
        return UserError(
            f"Kaggle refuses the download (403): accept the competition's rules on {rules_page(competition)} with the "
            "account that the credentials are of (Kaggle may want its phone number confirmed), and run the same "
            "command again."
        )
    if said(r"\b404\b.{0,3}(client error|not found)"):
        return WorkError(
            f"Kaggle knows no competition {competition} (404). Update the client with `pip install --upgrade kaggle`; "
            "if it stays, download the zip by browser (datasets/README.md)."
        )
    if said(r"no space left on device|errno 28|disk quota exceeded"):
        return WorkError(
            f"{shown(folder)}: the disk is full. Free some space, or choose another disk with --output, and run the "
            "same command again to go on."
        )
    if said(r"\b429\b.{0,3}(client error|too many)|too many requests"):
        return WorkError("Kaggle has had too many requests (429). Wait some minutes and run the same command again.")
    if said(r"\b5\d\d\b.{0,3}server error"):
        return WorkError("Kaggle is out of order. Run the same command again later; what has come is kept.")
    if said(r"certificate_verify_failed|sslerror"):
        return WorkError(
            "Kaggle's certificate cannot be verified. Check the computer's clock; behind a proxy that opens encrypted "
            "connections, name its certificates in REQUESTS_CA_BUNDLE."
        )
    if said(
        r"nameresolutionerror|name resolution|name or service not known|getaddrinfo|network is unreachable|max retries "
        r"exceeded|connection ?(error|refused|reset|aborted)|timed? ?out|chunkedencodingerror|incompleteread"
    ):
        return WorkError(
            "Kaggle's client lost the connection, or got none. Check the network (behind a proxy: HTTPS_PROXY) and run "
            "the same command again to go on."
        )
    if status < 0:
        return WorkError(f"Kaggle's client was killed by signal {-status}. Run the same command again to go on.")
    lines = [line.strip() for line in re.split(r"[\r\n]+", output) if line.strip()]
    return WorkError(
        f"Kaggle's client failed with status {status} ({lines[-1] if lines else 'it said nothing'}). Its whole output "
        "is above. If it is old, `pip install --upgrade kaggle`; else run the same command again."
    )
