"""What tests of several folders share: a data set, Weights & Biases kept apart, and a reader of its files."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Let Ctrl-C reach the processes that tests start: a background job of a shell begins with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


TRAINING = {"trained", "train", "gate", "study", "killed_study", "logged"}
"""Fixtures that train, for seconds to minutes."""
SLOW = (
    *(
        "tests/benchmarks",
        "tests/train/test_",
        "tests/train/members",
        "tests/test_rsna_yaml.py",
        "tests/train/study/analysis/test_effects.py",
        "tests/train/study/analysis/test_headline.py",
    ),
    *("tests/train/study/run/test_cluster.py::test_ray", "tests/train/members", "tests/test_winner.py"),
    *(
        f"tests/train/detector/test_{name}"
        for name in ("cost", "ddp", "locating", "models", "sampling", "stems", "track")
    ),
    *("tests/common/test_cores.py", "tests/convert/test_rsna_to_yolo.py::test_killed", "tests/convert/test_sample.py"),
    *("tests/train/study/report/test_page.py::test_drawn", "tests/test_console.py::test_every_command_says"),
    *("tests/convert/test_rsna_release_to_yolo.py", "tests/convert/synthetic/test_phantom.py"),
)
"""What else takes long: starts processes, draws, or simulates."""

IS_BARE = importlib.util.find_spec("ultralytics") is None
"""Whether the package is installed without extras, as in `make bare`."""


def pytest_collection_modifyitems(items) -> None:
    """Mark what is slow, for `make quick`; skip in a bare environment what needs more."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if TRAINING & fixtures or item.nodeid.startswith(SLOW):
            item.add_marker(pytest.mark.slow)
        if IS_BARE and (item.get_closest_marker("full") or (TRAINING | {"wandb_service"}) & fixtures):
            item.add_marker(pytest.mark.skip(reason="the extra [train] is not installed"))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter, config) -> None:
    """Print the coverage by room, where it was measured."""
    plugin = config.pluginmanager.get_plugin("_cov")
    measured = getattr(getattr(plugin, "cov_controller", None), "cov", None)
    if measured is None:
        return
    rooms: dict[str, list[int]] = {}
    for file in sorted(file for file in measured.get_data().measured_files() if file.endswith(".py")):  # no templates
        _, statements, _, missing, _ = measured.analysis2(file)
        parts = Path(file).relative_to(config.rootpath).parts
        room = rooms.setdefault("/".join(parts[:2]) if len(parts) > 2 else parts[0], [0, 0])
        room[0] += len(statements)
        room[1] += len(statements) - len(missing)
    rooms["all"] = [sum(room[which] for room in rooms.values()) for which in (0, 1)]
    terminalreporter.section("coverage by room")
    for name, (statements, covered) in rooms.items():
        share = 100 * covered / max(statements, 1)
        terminalreporter.write_line(f"{name:<24}{statements:>7} statements {share:>6.1f} %")


@pytest.fixture(autouse=True)
def _no_run_is_left_open():
    """End a W&B run that a test has left open, as one that stands for a kill does: the next would log into it."""
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None and getattr(wandb, "run", None) is not None:
        from wandb.sdk.lib.module import unset_globals

        with contextlib.suppress(Exception):  # its process may be gone
            wandb.finish()
        unset_globals()


@pytest.fixture(scope="session")
def data_set(tmp_path_factory) -> Path:
    """A data set folder; tests must not change it."""
    from tests.tiny_data_set import write_data_set

    return write_data_set(tmp_path_factory.mktemp("datasets") / "tiny")


@pytest.fixture
def own_data_set(data_set, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(data_set, tmp_path / "own"))


@pytest.fixture
def read_only(monkeypatch):
    """Makes folders like those of a read-only file system for what opens files; permissions do not stop root."""
    import builtins
    import errno
    import io
    import tempfile

    folders: list[Path] = []

    def check(path, is_writing: bool) -> None:
        if is_writing and isinstance(path, str | os.PathLike) and any(one in Path(path).parents for one in folders):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    plain_open, mkdir, temporary = builtins.open, os.mkdir, tempfile.TemporaryFile

    def checked_open(file, mode="r", *args, **kwargs):
        check(file, set(mode) & set("wax+") != set())
        return plain_open(file, mode, *args, **kwargs)

    def checked_mkdir(path, *args, **kwargs):
        check(path, not Path(path).exists())
        return mkdir(path, *args, **kwargs)

    def checked_temporary(*args, dir=None, **kwargs):
        check(Path(dir) / "x" if dir else None, True)
        return temporary(*args, dir=dir, **kwargs)

    monkeypatch.setattr(builtins, "open", checked_open)
    monkeypatch.setattr(io, "open", checked_open)
    monkeypatch.setattr(os, "mkdir", checked_mkdir)
    monkeypatch.setattr(tempfile, "TemporaryFile", checked_temporary)
    return folders.append


@pytest.fixture(scope="session")
def browser() -> str:
    """Headless Chromium's command; without one the test is skipped, or fails in continuous integration."""
    names = ("chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium")
    found = next((command for name in names if (command := shutil.which(name))), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("no Chromium on PATH: the continuous integration must look at the page")
    if found is None:
        pytest.skip("no Chromium on PATH: install it to look at the page in a browser")
    return found


class WandbFiles:
    """Reads W&B's offline files, with a reader of its own: a LevelDB log of protobuf records."""

    @staticmethod
    def records(file):
        from wandb.proto.wandb_internal_pb2 import Record

        data = file.read_bytes()
        records, at, content = [], 7, b""
        while at + 7 <= len(data):
            if 32768 - at % 32768 < 7:
                at += 32768 - at % 32768
                continue
            length, kind = struct.unpack("<HB", data[at + 4 : at + 7])
            if at + 7 + length > len(data):
                break  # of a run that goes on, or was killed
            content += data[at + 7 : at + 7 + length]
            at += 7 + length
            if kind in (1, 4):
                records.append(Record.FromString(content))
                content = b""
        return records

    @staticmethod
    def parts(run_dir):
        """The folders of a training's W&B run, the oldest first; it has several if it was continued."""
        files = (run_dir / "wandb").glob("offline-run-*/run-*.wandb")
        return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]

    @classmethod
    def finished(cls, folder):
        """A run's records. W&B's background process ends the file some milliseconds after `finish`."""
        (file,) = folder.glob("run-*.wandb")
        end = time.monotonic() + 20
        while True:
            records = cls.records(file)
            if records and records[-1].WhichOneof("record_type") == "exit":
                return records
            assert time.monotonic() < end, f"{file} was never finished"
            time.sleep(0.01)

    @classmethod
    def read(cls, folder):
        """A finished run: who it is, config, summary, history, artifacts, axes, exit code."""
        found = {"config": {}, "summary": {}, "history": [], "artifacts": [], "axes": {}, "stats": 0}
        for record in cls.finished(folder):
            name = record.WhichOneof("record_type")
            if name == "run":
                run = record.run
                found |= {"id": run.run_id, "project": run.project, "job_type": run.job_type}
                found |= {"name": run.display_name, "group": run.run_group}
                found["config"] |= cls.values(run.config.update)
            elif name == "config":
                found["config"] |= cls.values(record.config.update)
            elif name == "summary":
                found["summary"] |= cls.values(record.summary.update)
            elif name == "history":
                found["history"].append({**cls.values(record.history.item), "step": record.history.step.num})
            elif name == "artifact":
                found["artifacts"].append((record.artifact.type, record.artifact.name))
                if record.artifact.type == "model":
                    found["model"] = record.artifact
            elif name == "metric":
                found["axes"][record.metric.glob_name] = record.metric.step_metric
            elif name == "exit":
                found["exit_code"] = record.exit.exit_code
            found["stats"] += name == "stats"
        return found

    @staticmethod
    def values(items):
        return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


@pytest.fixture(scope="session")
def wandb_files() -> type[WandbFiles]:
    """A reader of W&B's files."""
    return WandbFiles


@pytest.fixture
def apart(tmp_path, monkeypatch) -> Path:
    """A home, a working folder and an environment that know nothing of W&B; put back afterwards."""
    keep_apart(tmp_path, monkeypatch)
    return tmp_path / "work"


@pytest.fixture(scope="module")
def apart_once(tmp_path_factory):
    """The same for fixtures of a module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("apart")
        keep_apart(folder, patch)
        yield folder / "work"


def keep_apart(folder, monkeypatch):
    # The address of W&B's background process; put back after that has ended, it would lead the next test nowhere.
    os.environ.pop("WANDB_SERVICE", None)
    ours = {"NETRC", "WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_ERROR_REPORTING"}
    for name in ours | {name for name in os.environ if name.startswith("WANDB_")}:
        monkeypatch.setenv(name, "")  # so that monkeypatch puts the variable back even if it was not there
        monkeypatch.delenv(name)
    (folder / "home").mkdir()
    (folder / "work").mkdir()
    monkeypatch.setenv("HOME", str(folder / "home"))
    monkeypatch.chdir(folder / "work")


@pytest.fixture(scope="module")
def wandb_service():
    """Stop W&B's background process when the tests are through."""
    yield
    import wandb

    wandb.teardown()
