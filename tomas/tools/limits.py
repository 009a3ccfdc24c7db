"""What limits a tool's child process: environment, cores, memory."""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from tomas.schema import Resources

__all__ = ["Cgroup", "child_environment", "claim_cores", "whole_cores"]

RLIMIT_SLACK_BYTES = 256 * 2**20
"""RLIMIT_DATA counts what is mapped, not what is used: thread stacks and allocator reserves come on top."""

_SECRET_PREFIXES = ("AIRFLOW_CONN_", "AIRFLOW_VAR_", "AIRFLOW__", "_AIRFLOW", "TOMAS__STORE__")
_SECRET_WORDS = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|DSN|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|DATABASE_URL",
    re.IGNORECASE,
)
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
    "LOKY_MAX_CPU_COUNT",
    "RAYON_NUM_THREADS",
    "TOMAS_CORES",
)


def whole_cores(allocation: Resources) -> int:
    """The allotted cores as a whole number ≥ 1: threads and affinity know no fractions."""
    return max(1, math.ceil(allocation.cpu_cores - 1e-9))


def child_environment(base: Mapping[str, str], allocation: Resources, work_dir: Path) -> dict[str, str]:
    """The environment of a tool: no secrets, thread counts as allotted, temporary files in ``work_dir``."""
    environment = {
        name: value
        for name, value in base.items()
        if not name.upper().startswith(_SECRET_PREFIXES) and not _SECRET_WORDS.search(name)
    }
    environment.update(dict.fromkeys(_THREAD_VARIABLES, str(whole_cores(allocation))))
    environment.update(
        TMPDIR=str(work_dir),
        JOBLIB_TEMP_FOLDER=str(work_dir),
        PYTHONUNBUFFERED="1",
        PYTHONDONTWRITEBYTECODE="1",
        PYTHONIOENCODING="utf-8",
        MALLOC_ARENA_MAX="2",
        HF_HUB_OFFLINE="1",
        TRANSFORMERS_OFFLINE="1",
    )
    package_root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (package_root, environment.get("PYTHONPATH"))))
    if allocation.gpu_sm <= 0 and allocation.gpu_mem_gb <= 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif allocation.gpu_sm > 0:
        environment["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = str(max(1, min(100, math.ceil(allocation.gpu_sm))))
    return environment


@contextlib.contextmanager
def claim_cores(count: int) -> Iterator[list[int] | None]:
    """Choose ``count`` of the cores this process may use, free ones first.

    A claim is a lock on a small file that every TOMAS process of this user on this host sees; it ends
    with the process that holds it. Where more is claimed than there are cores, they are shared. Yields
    None where the platform has no affinity.
    """
    if not hasattr(os, "sched_getaffinity"):
        yield None
        return
    import fcntl

    folder = Path(tempfile.gettempdir()) / f"tomas-cores-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    held: list[int] = []
    chosen: list[int] = []
    try:
        for core in cores:
            if len(chosen) == count:
                break
            handle = os.open(folder / f"core-{core}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            held.append(handle)
            chosen.append(core)
        rest = [core for core in cores if core not in chosen]
        random.shuffle(rest)
        yield sorted(chosen + rest[: max(0, count - len(chosen))])
    finally:
        for handle in held:
            os.close(handle)


class Cgroup:
    """A cgroup v2 of its own for one run, where this process may create one."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, allocation: Resources) -> Cgroup | None:
        """A new cgroup with ``memory.max`` (and ``cpu.max`` where that controller is on), else None.

        Tried below this process's own cgroup and beside it: a cgroup that holds processes may not
        delegate the memory controller to children unless it is the root of its namespace.
        """
        if not sys.platform.startswith("linux"):
            return None
        own = _own_cgroup()
        if own is None:
            return None
        for parent in (own, own.parent):
            path = parent / f"tomas-{uuid.uuid4().hex}"
            try:
                controllers = (parent / "cgroup.subtree_control").read_text(encoding="ascii").split()
                if "memory" not in controllers:
                    continue
                path.mkdir()
            except OSError:
                continue
            group = cls(path)
            try:
                group._write("memory.max", str(int(allocation.cpu_mem_gb * 2**30)))
                with contextlib.suppress(OSError):
                    group._write("memory.swap.max", "0")
                    group._write("memory.oom.group", "1")
                if "cpu" in controllers and allocation.cpu_cores > 0:
                    with contextlib.suppress(OSError):
                        group._write("cpu.max", f"{int(allocation.cpu_cores * 100_000)} 100000")
            except OSError:
                group.remove()
                continue
            return group
        return None

    def add(self, pid: int) -> bool:
        """Move a process in; its later children follow. False where the kernel refuses."""
        try:
            self._write("cgroup.procs", str(pid))
        except OSError:
            return False
        return True

    def peak_bytes(self) -> int:
        """``memory.peak``, or 0 on kernels before 5.19."""
        try:
            return int((self.path / "memory.peak").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    def oom_kills(self) -> int:
        """How many processes the kernel killed here for want of memory."""
        with contextlib.suppress(OSError, ValueError):
            for line in (self.path / "memory.events").read_text(encoding="ascii").splitlines():
                name, _, value = line.partition(" ")
                if name == "oom_kill":
                    return int(value)
        return 0

    def remove(self) -> None:
        """Kill what is left inside and delete the group."""
        with contextlib.suppress(OSError):
            self._write("cgroup.kill", "1")
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _write(self, name: str, value: str) -> None:
        (self.path / name).write_text(value, encoding="ascii")


def _own_cgroup() -> Path | None:
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("0::"):
            relative = line[3:].lstrip("/")
            for mount in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
                if (mount / "cgroup.controllers").exists():
                    return mount / relative
    return None
