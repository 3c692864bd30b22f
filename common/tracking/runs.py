"""Keep and find the Weights & Biases run of a training, so that a resume and the score go into the same run."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.files import write_json

RUN_FILE = "wandb_run.json"
"""Written by a training into its folder: {"id": ..., "project": ..., "entity": ..., "where": ...}."""

_RECORDS_TO_SEARCH = 200
"""Of a run file; the training's arguments are among the first records."""

_BLOCK = 32 * 1024
_HEADER = 7
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class RunReference:
    """Which W&B run: enough to continue it."""

    id: str
    project: str | None = None
    entity: str | None = None


def write_run(run_dir: Path, run: RunReference, where: str) -> None:
    """Write a training's W&B run into its folder, for `find_run` and `logged_at`.

    Raises:
        WorkError: The file cannot be written.
    """
    write_json(run_dir / RUN_FILE, {"id": run.id, "project": run.project, "entity": run.entity, "where": where})


def logged_at(run_dir: Path) -> str:
    """Where a training's W&B run can be seen, or how to upload it; empty where it has none of its own."""
    return str(_read_file(run_dir).get("where") or "")


def find_run(run_dir: Path) -> RunReference | None:
    """Find the W&B run of a training.

    Args:
        run_dir: The training's folder, which holds `weights/best.pt`.

    Returns:
        What `wandb_run.json` in it says. Otherwise the newest run with Ultralytics' `save_dir` among its settings: in
        `run_dir/wandb`, where Ultralytics 8.4 logs to, or in `wandb` of the current folder or of one above `run_dir`,
        where earlier versions may have, if `save_dir` is `run_dir`. None where there is no such run.
    """
    told = _read_file(run_dir)
    if "id" in told:
        return RunReference(str(told["id"]), told.get("project"), told.get("entity"))

    wanted = run_dir.resolve()
    for folder in dict.fromkeys([wanted, Path.cwd(), *wanted.parents]):
        for file in _newest_first(folder / "wandb"):
            try:
                run, saved = _read_run(file)
            except Exception:  # cut off, or of a format that W&B has yet to invent
                continue
            # A training's folder may have been moved since, together with the run inside it.
            if run and saved and (folder == wanted or Path(str(saved)).resolve() == wanted):
                return run
    return None


def _read_file(run_dir: Path) -> dict[str, Any]:
    """The content of `wandb_run.json`; nothing where there is none, or it is damaged."""
    try:
        told = json.loads((run_dir / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _newest_first(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime, reverse=True)
    except OSError:
        return []


def _read_run(file: Path) -> tuple[RunReference | None, str | None]:
    """Read the run and its setting `save_dir` from one of W&B's run files."""
    run, saved = None, None
    for number, record in enumerate(_records(file)):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = RunReference(record.run.run_id, record.run.project or None, record.run.entity or None)
        for item in (record.run.config if kind == "run" else record.config).update:
            if item.key == "save_dir":
                saved = json.loads(item.value_json)
        if (run and saved) or number >= _RECORDS_TO_SEARCH:
            break
    return run, saved


def _records(file: Path) -> Iterator[Any]:
    """Read W&B's run file: a LevelDB log of protobuf records.

    The format is LevelDB's (doc/log_format.md there): blocks of 32 KiB; a record, or a part of one, has a header of 4
    bytes checksum, 2 bytes length and 1 byte kind. W&B puts 7 bytes of its own before it all. A file that was cut off,
    as by a killed process, ends at its last whole record.
    """
    from wandb.proto import wandb_internal_pb2

    record_type: Any = vars(wandb_internal_pb2)["Record"]
    with file.open("rb") as stream:
        block, at = stream.read(_BLOCK), _HEADER
        if not block.startswith(b":W&B"):
            return
        content = b""
        while block:
            while at + _HEADER <= len(block):
                length, kind = struct.unpack_from("<HB", block, at + 4)
                part = block[at + _HEADER : at + _HEADER + length]
                if kind not in (_WHOLE, _FIRST, _MIDDLE, _LAST) or len(part) < length:
                    return
                content += part
                at += _HEADER + length
                if kind in (_WHOLE, _LAST):
                    record = record_type()
                    record.ParseFromString(content)
                    yield record
                    content = b""
            block, at = stream.read(_BLOCK), 0
