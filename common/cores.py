"""How many cores there are to work with."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_ASKED = os.environ.get("OMP_NUM_THREADS", "") if "LOCAL_RANK" not in os.environ else ""
"""As the user has set it: read before PyTorch's launcher or Ultralytics does so, which both set it to 1 themselves."""

_CONTROL_GROUPS, _MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def computing_threads() -> int:
    """Threads to compute with: what the user asks for with OMP_NUM_THREADS, else one for each core."""
    return int(_ASKED) if _ASKED.isdigit() and int(_ASKED) > 0 else available_cores()


def available_cores() -> int:
    """The cores that this process may use, which in a container or on a cluster are fewer than the machine has.

    That is as many as it may run on (its affinity), or as the time that its control groups grant it (Linux, both
    versions; `docker run --cpus 2`) makes up, begun ones counted as whole.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, math.ceil(min(_granted(), default=cores))))


def _granted() -> Iterator[float]:
    """The cores that each control group which this process is in grants, if it does not grant all.

    See cgroups(7), and `cpu.max` and `cpu.cfs_quota_us` in the kernel's documentation.
    """
    lines: list[str] = []
    with contextlib.suppress(OSError):
        lines = _MEMBERSHIP.read_text().splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in {_CONTROL_GROUPS / name for name in (controllers, "cpu" if controllers else "unified")}:
            # Seen from inside a container, the path may be the host's; what binds it is then at the top.
            folder = mount.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
            while True:
                with contextlib.suppress(OSError, ValueError):
                    yield from _quota(folder, version=1 if controllers else 2)
                if folder == mount:
                    break
                folder = folder.parent


def _quota(folder: Path, version: int) -> Iterator[float]:
    if version == 2:
        quota, period = (folder / "cpu.max").read_text().split()
    else:
        quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
    if quota != "max" and int(quota) > 0:
        yield int(quota) / int(period)
