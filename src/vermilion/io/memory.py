"""How much memory this process may use: the least of what machine, container and shell allow."""

from __future__ import annotations

import resource
from pathlib import Path

from ..errors import MemoryLimitError

__all__ = ["available_memory", "format_bytes", "require_memory"]

_CGROUP_FILES = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
_UNKNOWN = 8 * 1024**3  # where the system tells nothing


def available_memory() -> int:
    """Bytes that can still be allocated, by the machine, the control group and the address-space limit.

    Returns
    -------
    int
        8 GiB where the system tells nothing.
    """
    limits = [*_machine(), *_control_group(), *_address_space()]
    return max(min(limits, default=_UNKNOWN), 0)


def _machine() -> list[int]:
    text = _text("/proc/meminfo")
    return [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemAvailable:")]


def _control_group() -> list[int]:
    found = []
    for limit, used in _CGROUP_FILES:
        allowed, spent = _text(limit).strip(), _text(used).strip()
        if allowed.isdigit():
            found.append(int(allowed) - (int(spent) if spent.isdigit() else 0))
    return found


def _address_space() -> list[int]:
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    return [] if soft == resource.RLIM_INFINITY else [soft]


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except OSError:
        return ""


def format_bytes(n: float) -> str:
    """`n` bytes in words, such as ``3.8 MB`` (powers of 1000).

    >>> format_bytes(3_840_000)
    '3.8 MB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if abs(n) < 1000 or unit == "TB":
            break
        n /= 1000
    return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"


def require_memory(n_bytes: int, limit: int, where: object, what: str) -> None:
    """Refuse what would not fit, before anything is allocated.

    Raises
    ------
    MemoryLimitError
    """
    if n_bytes > limit:
        raise MemoryLimitError(
            f"{where}: {what} needs {format_bytes(n_bytes)}, {format_bytes(limit)} are allowed: give more with --memory, or cut out a part."
        )
