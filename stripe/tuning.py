"""Settings of the process that torch is faster with: how its threads wait, and how freed memory is kept.

Between two parallel regions the threads of OpenMP spin for 3 ms by default. Beside other busy processes each of them
spins for another one that does not run, which makes a network many times slower. If they never spin, they have to be
woken each time, which costs an idle machine a fifth of its speed. So they spin for some microseconds.

The C library gives large arrays back to the system when they are freed, so that every forward pass has its memory
mapped and filled with zeros anew. So freed memory is kept.

``import stripe`` applies both, unless the environment sets them, or ``STRIPE_TUNING`` is ``0``.
"""

import os
import sys

__all__ = ["applied", "apply"]

SPINS = 3000
"""Rounds for which a thread of GNU's OpenMP, which torch brings along on Linux, spins before it sleeps; libgomp's own
default is 300,000."""

KEPT = 1 << 30
"""Freed bytes at the end of the heap from which on they are given back to the system; glibc's own default is 128 kB."""

MAPPED = (1 << 29, 1 << 25)
"""Bytes from which on an array is mapped by itself, and given back when it is freed. The second is the largest that
older versions of glibc accept."""

# Parameters of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

applied: list[str] = []
"""What ``apply`` set, in a few words each; ``stripe bench`` says it with the machine."""


def apply() -> None:
    """Set what the user has not set; call it before torch is imported, as OpenMP reads its settings but once."""
    if applied or os.environ.get("STRIPE_TUNING") == "0" or sys.platform != "linux":
        return
    spins = str(SPINS)
    if os.environ.get("GOMP_SPINCOUNT") == spins and "OMP_WAIT_POLICY" not in os.environ:
        applied.append(f"GOMP_SPINCOUNT {spins}")  # the parent process has set it
    elif "torch" not in sys.modules and not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = spins
        applied.append(f"GOMP_SPINCOUNT {spins}")
    if not any(name.startswith("MALLOC_") for name in os.environ) and _keep_memory():
        applied.append("freed memory kept")


def _keep_memory() -> bool:
    """Tell glibc to keep freed memory; False if the C library is another one."""
    import ctypes

    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (other libraries' mallopt has other parameters)
        mapped = any(libc.mallopt(_M_MMAP_THRESHOLD, size) for size in MAPPED)
        return bool(mapped and libc.mallopt(_M_TRIM_THRESHOLD, KEPT))
    except (OSError, AttributeError):
        return False
