"""How many processors there are to use, by affinity and by the quota of a container."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dl2cli.cores import cpu_quota, usable_cores


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("cpu__", "cpu.")).write_text(text + "\n")


def test_no_more_than_the_scheduler_gives():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


def test_version_2(tmp_path: Path):
    write(tmp_path / "a" / "b", cpu__max="max 100000")
    assert cpu_quota("0::/a/b", tmp_path) is None
    write(tmp_path / "a", cpu__max="150000 100000")  # the limit of a pod holds for its containers
    assert cpu_quota("0::/a/b", tmp_path) == 1.5
    write(tmp_path / "a" / "b", cpu__max="50000 100000")
    assert cpu_quota("0::/a/b", tmp_path) == 0.5


def test_version_1(tmp_path: Path):
    lines = "4:memory:/x\n1:cpu,cpuacct:/docker/1\n0::/"
    write(tmp_path / "cpu" / "docker" / "1", cpu__cfs_quota_us="-1", cpu__cfs_period_us="100000")
    assert cpu_quota(lines, tmp_path) is None
    write(tmp_path / "cpu" / "docker" / "1", cpu__cfs_quota_us="300000")
    assert cpu_quota(lines, tmp_path) == 3


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path):
    write(tmp_path / "cpu", cpu__cfs_quota_us="200000", cpu__cfs_period_us="100000")
    assert cpu_quota("1:cpu:/docker/0123", tmp_path) == 2
    assert cpu_quota("1:cpu:/../..", tmp_path) == 2


@pytest.mark.parametrize("text", ["", "rubbish", "1 0", "100000"])
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, text: str):
    write(tmp_path, cpu__max=text)
    assert cpu_quota("0::/", tmp_path) is None
    assert cpu_quota("rubbish", tmp_path) is None
