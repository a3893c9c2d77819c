"""Where compiled kernels are kept on disk.

Numba's cache notices a change in a kernel's own file, but not in a kernel that it calls from another file: a stale
risk rule would go on trading. So the cache directory is named by a hash of all source files that hold kernels or what
kernels are compiled from, and every entry point calls `set_kernel_cache` before the first kernel is imported.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

KERNEL_PACKAGES = ("market", "risk", "strategies")
KERNEL_PACKAGES_PARTLY = ("sweeps",)  # only their files that import numba: the rest reads what kernels leave
GENERATIONS_KEPT = 3


def set_kernel_cache() -> Path:
    """Point numba's disk cache to the directory of this source tree and return it; forget old generations.

    Child processes inherit the setting. `TRIREME_CACHE` replaces the user's cache directory. Raises RuntimeError when
    numba is imported already: it reads the setting once.
    """
    home = os.environ.get("TRIREME_CACHE") or os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(home) / "trireme" / "kernels"
    directory = root / hash_kernel_sources()
    directory.mkdir(parents=True, exist_ok=True)
    os.utime(directory)
    for old in sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)[GENERATIONS_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    if "numba" in sys.modules and os.environ.get("NUMBA_CACHE_DIR") != str(directory):
        raise RuntimeError("numba is imported already: call set_kernel_cache before the first kernel is imported")
    os.environ["NUMBA_CACHE_DIR"] = str(directory)
    return directory


def hash_kernel_sources() -> str:
    """Return 16 hex digits that change with any source that decides: what a run was computed with."""
    top = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in (*KERNEL_PACKAGES, *KERNEL_PACKAGES_PARTLY):
        for path in sorted((top / package).rglob("*.py")):
            source = path.read_bytes()
            if package in KERNEL_PACKAGES_PARTLY and b"from numba import" not in source:
                continue
            digest.update(path.relative_to(top).as_posix().encode())
            digest.update(source)
    return digest.hexdigest()[:16]
