"""How many cores there are to work with."""

from __future__ import annotations

import os

_ASKED = os.environ.get("OMP_NUM_THREADS", "") if "LOCAL_RANK" not in os.environ else ""
"""As the user has set it: read before PyTorch's launcher or Ultralytics does so, which both set it to 1 themselves."""


def computing_threads() -> int:
    """Threads to compute with: what the user asks for with OMP_NUM_THREADS, else one for each core."""
    return int(_ASKED) if _ASKED.isdigit() and int(_ASKED) > 0 else available_cores()


def available_cores() -> int:
    """The cores that this process may use, which in a container or on a cluster are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
