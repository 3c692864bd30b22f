"""What every training needs first: Ultralytics imported quietly, all cores, and no download of a font.

A trainer's module calls `set_up` before it imports anything of Ultralytics, since the worker processes of a multi-GPU
training import nothing else of this project before it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from common.cores import computing_threads
from common.files import PART
from common.quiet_ultralytics import import_ultralytics


def set_up() -> None:
    """Import Ultralytics quietly, let it have all cores, and give it a font; done again, it changes nothing."""
    import_ultralytics(verbose=True)
    use_all_cores()
    provide_font()


def use_all_cores() -> None:
    """Let PyTorch have all cores that this process may use, or as many threads as OMP_NUM_THREADS says.

    Ultralytics leaves one core idle, half of a small machine.
    """
    from ultralytics.utils import torch_utils

    torch_utils.NUM_THREADS = computing_threads()


def provide_font() -> None:
    """Put matplotlib's font where Ultralytics looks for its own, which it would download at every start."""
    from ultralytics.utils import USER_CONFIG_DIR

    target = Path(USER_CONFIG_DIR) / "Arial.ttf"
    if target.exists():
        return
    import matplotlib

    part = target.with_name(f"{target.name}.{os.getpid()}{PART}")
    with contextlib.suppress(OSError):  # a read-only folder: then it is as it was
        shutil.copyfile(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", part)
        os.replace(part, target)
