"""Host telemetry: the tightest cgroup limit holds, of either version, inside and outside of containers."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from tomas.telemetry.host import HostMeter, host_capacity, host_usage

GB = 2**30


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def meter(tmp_path: Path, cgroup: str) -> HostMeter:
    (tmp_path / "cgroup").write_text(cgroup)
    return HostMeter(tmp_path / "fs", tmp_path / "cgroup")


def test_without_cgroups_the_machine_counts(tmp_path: Path) -> None:
    capacity = HostMeter(tmp_path / "none", tmp_path / "none").capacity()
    assert capacity.cpu_cores >= 1
    assert capacity.cpu_mem_gb == pytest.approx(psutil.virtual_memory().total / GB)


def test_version_2_takes_the_tightest_group_on_the_way_up(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    write(root / "outer", cpu__max="50000 100000\n", memory__max=f"{GB}\n")
    write(
        root / "outer" / "inner",
        cpu__max="max 100000\n",
        memory__max="max\n",
        memory__current=f"{GB // 2}\n",
        memory__stat="anon 1\n",
    )
    write(root / "outer", memory__current=f"{GB * 3 // 4}\n", memory__stat=f"anon 5\ninactive_file {GB // 4}\n")
    capacity = meter(tmp_path, "0::/outer/inner\n").capacity()
    assert (capacity.cpu_cores, capacity.cpu_mem_gb) == (0.5, 1.0)
    assert meter(tmp_path, "0::/outer/inner\n").usage().cpu_mem_gb == pytest.approx(0.5)


def test_version_1_reads_each_controller_by_itself(tmp_path: Path) -> None:
    root = tmp_path / "fs"
    write(root / "cpu,cpuacct" / "job", cpu__cfs_quota_us="25000\n", cpu__cfs_period_us="100000\n")
    write(root / "cpu,cpuacct", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(
        root / "memory" / "job",
        memory__limit_in_bytes=f"{2 * GB}\n",
        memory__usage_in_bytes=f"{GB}\n",
        memory__stat=f"inactive_file 7\ntotal_inactive_file {GB // 4}\n",
    )
    job = meter(tmp_path, "4:memory:/job\n3:cpu,cpuacct:/job\n0::/\n")
    assert (job.capacity().cpu_cores, job.capacity().cpu_mem_gb) == (0.25, 2.0)
    assert job.usage().cpu_mem_gb == pytest.approx(0.75)


def test_path_of_the_machine_seen_inside_a_container_falls_to_the_mount(tmp_path: Path) -> None:
    write(tmp_path / "fs", cpu__max="75000 100000\n", memory__max=f"{3 * GB}\n")
    capacity = meter(tmp_path, "0::/docker/0123456789\n").capacity()
    assert (capacity.cpu_cores, capacity.cpu_mem_gb) == (0.75, 3.0)


def test_unlimited_version_1_memory_is_no_limit(tmp_path: Path) -> None:
    write(tmp_path / "fs" / "memory", memory__limit_in_bytes="9223372036854771712\n")
    capacity = meter(tmp_path, "4:memory:/\n").capacity()
    assert capacity.cpu_mem_gb == pytest.approx(psutil.virtual_memory().total / GB)


def test_cpu_use_of_a_limited_container_is_that_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "fs", cpu__max="50000 100000\n", cpu__stat="usage_usec 1000000\nuser_usec 1\n")
    limited = meter(tmp_path, "0::/\n")
    clock = iter([10.0, 12.0, 16.0])
    monkeypatch.setattr("tomas.telemetry.host.time.monotonic", lambda: next(clock))
    readings = iter(["usage_usec 1500000\n", "usage_usec 2500000\n"])

    def wait(_: float) -> None:
        write(tmp_path / "fs", cpu__stat=next(readings))

    monkeypatch.setattr("tomas.telemetry.host.time.sleep", wait)
    assert limited.usage().cpu_cores == pytest.approx(0.25), "half a second of CPU in two seconds"
    wait(0)
    assert limited.usage().cpu_cores == pytest.approx(0.25), "one second of CPU in four"


def test_this_host_uses_no_more_than_it_has() -> None:
    capacity, usage = host_capacity(), host_usage()
    assert 0 < usage.cpu_mem_gb <= capacity.cpu_mem_gb
    assert 0 <= usage.cpu_cores <= capacity.cpu_cores
