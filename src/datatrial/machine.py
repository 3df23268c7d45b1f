"""The machine that this process runs on."""

from pathlib import Path

import psutil


def memory() -> int:
    """Bytes of memory that this machine, or the container around this process, has."""
    limit = Path("/sys/fs/cgroup/memory.max")  # "max" where there is no limit
    limited = limit.read_text().strip() if limit.exists() else "max"
    return min([psutil.virtual_memory().total, *([int(limited)] if limited.isdigit() else [])])
