"""Stands in for Kaggle's client: its arguments, words, statuses and files, as read in versions 1.5.16 and 2.2.5.

A test puts it on PATH as `kaggle`. FAKE_KAGGLE says how it ends, FAKE_ZIP is what Kaggle has, and FAKE_LOG gets a line
of arguments for each call.
"""

import json
import os
import signal
import sys
from pathlib import Path

HELP = "Authentication required to call the Kaggle API.\n\nFirst, you will need a Kaggle account."
BAR = "\r 10%|#         | 403M/3.71G [00:01<00:10, 401MB/s]"
URL = "https://api.kaggle.com/v1/competitions.CompetitionApiService/DownloadDataFiles"
ERRORS = {
    "rules": f"403 Client Error: Forbidden for url: {URL}",
    "old-rules": "403 - Forbidden - You must accept this competition's rules before you'll be able to download files.",
    "unknown": f"404 Client Error: Not Found for url: {URL}",
    "requests": f"429 Client Error: Too Many Requests for url: {URL}",
    "down": f"503 Server Error: Service Unavailable for url: {URL}",
    "offline": "HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded with url: /v1 (Caused by "
    "NameResolutionError(\"Failed to resolve 'api.kaggle.com' ([Errno -3] Temporary failure in name resolution)\"))",
    "proxy": "HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded with url: /v1 (Caused by "
    "ProxyError('Cannot connect to proxy.', OSError('Tunnel connection failed: 407 Proxy Authentication Required')))",
    "certificate": "HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded with url: /v1 (Caused "
    "by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')))",
    "full": "[Errno 28] No space left on device",
    "bug": "KeyError: 'some_missing_field'",
}


def main() -> None:
    how, arguments = os.environ["FAKE_KAGGLE"], sys.argv[1:]
    with Path(os.environ["FAKE_LOG"]).open("a") as log:
        log.write(" ".join(arguments) + "\n")
    competition, folder = arguments[arguments.index("-c") + 1], Path(arguments[arguments.index("-p") + 1])
    target = folder / f"{competition}.zip"
    if how == "no-credentials":
        print(HELP)
        sys.exit(1)
    if how == "old-no-credentials":
        raise OSError("Could not find kaggle.json. Make sure it's located in /home/me/.config/kaggle.")
    if how in ERRORS:
        print(BAR, file=sys.stderr)
        print(ERRORS[how], file=sys.stderr)
        sys.exit(1)
    content = Path(os.environ["FAKE_ZIP"]).read_bytes()
    if how == "skipping" and target.exists() and "--force" not in arguments:
        print(f"{target.name}: Skipping, found more recently modified local copy (use --force to force download)")
        return
    if how == "nothing":
        return
    download(how, target, content)


def download(how: str, target: Path, content: bytes) -> None:
    marker = target.with_name(target.name + ".kaggle-partial")
    identity = {"validator": '"one"', "size": len(content)}
    have = 0
    if target.exists() and marker.exists() and json.loads(marker.read_text()) == identity:
        have = target.stat().st_size
        print(f"Resuming from {have} bytes ({len(content) - have} bytes left)...")
    else:
        print(f"Downloading {target.name} to {target.parent}")
    marker.write_text(json.dumps(identity))
    with target.open("ab" if have else "wb") as out:
        if how in ("killed", "stopped", "waiting"):
            out.write(content[have : len(content) // 2])
            out.flush()
            print(BAR, file=sys.stderr)
            if how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            try:
                if how == "waiting":
                    print("WAITING", flush=True)
                    signal.pause()
                raise KeyboardInterrupt
            except KeyboardInterrupt:
                print("User cancelled operation")
                return
        out.write(content[have:])
    marker.unlink()


main()
