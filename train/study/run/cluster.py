"""Ray, started for a study or joined: quiet, phoning nobody, writing nothing outside of the temporary folder."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import secrets
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.cli import print_warning
from common.cores import available_cores
from common.errors import UserError
from common.paths import CODE, shown
from common.tracking.switches import restriction

INSTALL = "python -m pip install -e '.[ray]'"
_OBJECT_STORE = 100 * 2**20
"""Bytes; trials pass files, not objects."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the command's own message says how to go on
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # for a stopped training to leave its process to the next
    "TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S": "600",
}
_LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Despite its name also on Linux: at 0, Ray listens at 127.0.0.1 alone, where no other machine reaches it. Read at
import."""
_PASSED_ON = ("YOLO_", "WANDB_", "ULTRALYTICS_")


@dataclass(frozen=True)
class Resources:
    """What there is to compute with, and what a trial gets of it.

    Attributes:
        at_once: Trials at a time.
        cpus: Cores of a trial.
        gpus: GPUs of a trial, also a part of one.
        machine: All there is, in words.
    """

    at_once: int
    cpus: int
    gpus: float
    machine: str


def require(*modules: str) -> None:
    """Refuse to work without the extra.

    Raises:
        UserError: One of the modules is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise UserError(f"{module} is not installed; a study needs the extra `ray`: {INSTALL}")


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Start Ray on this machine, or join a cluster; leave or shut it down at the end.

    Args:
        address: Of a cluster, such as `10.0.0.1:6379`, or `auto`; None for this machine alone.

    Raises:
        UserError: There is no cluster at this address.
    """
    require("ray")
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder = None
    if address is None:
        os.environ.setdefault(_LOOPBACK, "0")
        if os.environ.get("RAY_AUTH_MODE") is None:
            # A token for this session, which Ray would otherwise keep in the home folder.
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray
    from ray.job_config import JobConfig

    if ray.is_initialized():
        yield
        return
    if address is None and os.environ.get("RAY_ADDRESS"):
        print_warning(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']} is set; this study runs on this machine alone all the same. To "
            "use that cluster, say --ray auto."
        )
    settings: dict[str, Any] = {
        # Else Ray puts the current folder before all others on the path of the trials' processes, and a file there
        # such as numpy.py would be run by them.
        "job_config": JobConfig(_client_job=True),
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": _worker_environment()},
    }
    try:
        if address is None:
            folder = temporary_folder()
            ray.init(
                address="local",  # also where RAY_ADDRESS names a cluster
                num_cpus=available_cores(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE,
                _temp_dir=folder,
                **settings,
            )
        else:
            ray.init(address=address, **settings)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:160]
        where = f"--ray {address}: no cluster to join" if address else "Ray cannot be started on this machine"
        raise UserError(f"{where} ({reason}). See `ray start --help` and `ray status`.") from error
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # a trial's failure is said in one line of ours
    try:
        yield
    finally:
        ray.shutdown()
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def share_out(jobs: int, at_once: int | None, cpus: int | None, gpus: float | None) -> Resources:
    """Decide what each trial gets; what is None is chosen.

    Args:
        jobs: How many could run at a time.
        at_once: Trials at a time.
        cpus: Cores of each.
        gpus: GPUs of each; by itself one, if there are any.

    Raises:
        UserError: No node has as much.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    all_cpus, all_gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    gpus = (1.0 if all_gpus else 0.0) if gpus is None else gpus
    fit = int(all_gpus / gpus) if gpus else all_cpus
    wanted = min(at_once or jobs, jobs, max(1, fit))
    most_cpus, most_gpus = (int(max(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    cpus = cpus or max(1, min(most_cpus, all_cpus // wanted))
    if cpus > most_cpus or gpus > most_gpus:
        raise UserError(
            f"--cpus-per-trial {cpus}, --gpus-per-trial {gpus:g}: no node has as much; the largest has {most_cpus} "
            f"cores and {most_gpus} GPUs. Ask for less."
        )
    cluster = f"{len(nodes)} nodes with together " if len(nodes) > 1 else ""
    machine = f"{cluster}{all_cpus} cores, {all_gpus or 'no'} GPU{'s' if all_gpus > 1 else ''}"
    return Resources(wanted, cpus, gpus, machine)


def check_nodes(folders: list[Path]) -> None:
    """Let every node of a cluster look for the folders that a trial needs.

    Args:
        folders: The study's, first of all, and the project's.

    Raises:
        UserError: A node does not see one of them, or sees another one of that name.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    mark = folders[0] / f".seen-{uuid.uuid4().hex}"
    mark.touch()

    @ray.remote(num_cpus=0)
    def missing() -> list[str]:
        return [os.fspath(path) for path in [*folders, mark] if not path.exists()]

    try:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        asked = [
            missing.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
            for node in nodes
        ]
        for node, lacking in zip(nodes, ray.get(asked), strict=True):
            if lacking:
                what = shown(folders[0]) if lacking[0] == os.fspath(mark) else lacking[0]
                raise UserError(
                    f"--ray: node {node['NodeManagerAddress']} does not see {what}. The project, the data set and "
                    "--output must lie on a file system that all nodes share, at the same path."
                )
    finally:
        mark.unlink(missing_ok=True)


def _worker_environment() -> dict[str, str]:
    """What a trial's process needs of this one's environment, also on another machine."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    path = os.pathsep.join(filter(None, (os.fspath(CODE), os.environ.get("PYTHONPATH"))))
    own = {name: os.environ[name] for name in _ENVIRONMENT}
    if switch := restriction():  # perhaps in a settings file, which another machine does not have
        own["WANDB_MODE"] = switch.mode
    return {**kept, **own, "PYTHONPATH": path, "YOLO_VERBOSE": "true"}  # a trial's log says what it has done


def temporary_folder() -> str:
    """A folder for Ray, in `RAY_TMPDIR` or the system's. Its path is short: a socket's has at most 107 characters."""
    system = os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()
    short = system if len(system) <= 24 or not os.access("/tmp", os.W_OK) else "/tmp"
    return tempfile.mkdtemp(prefix="ray-", dir=short)
