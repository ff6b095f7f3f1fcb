import subprocess
import sys
import time
from pathlib import Path

import pytest

from dl2cli import block_device
from dl2cli.bench.storage import counters
from dl2cli.bench.storage.counters import IoCounters, Sampler, process_tree_cpu_s
from dl2cli.block_device import find_device

READ = "import sys; open(sys.argv[1], 'rb').read(); print('read', flush=True); sys.stdin.read()"


@pytest.fixture
def megabyte(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(bytes(1 << 20))
    return path


def test_own_reads_are_counted(megabyte):
    before = IoCounters.now(megabyte)
    megabyte.read_bytes()
    read = IoCounters.now(megabyte).difference(before)
    assert read.process_rchar_bytes >= 1 << 20
    assert read.process_read_bytes >= 0


def test_reads_of_children_are_counted_while_they_live_and_afterwards(megabyte):
    before = IoCounters.now(megabyte)
    with subprocess.Popen(
        [sys.executable, "-c", READ, str(megabyte)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout.readline() == b"read\n"
        alive = IoCounters.now(megabyte).difference(before)
    ended = IoCounters.now(megabyte).difference(before)
    assert alive.process_rchar_bytes >= 1 << 20
    assert ended.process_rchar_bytes >= 1 << 20


def test_a_difference_is_never_negative():
    more = IoCounters(5, 5, 5, "disk", None)
    less = IoCounters(3, 9, None, "disk", None)
    assert less.difference(more) == IoCounters(0, 4, None, "disk", None)


def test_a_device_is_found_or_its_absence_explained(tmp_path):
    device = find_device(tmp_path)
    assert (device.name is None) == (device.counter is None) == (device.missing is not None)
    if device.name:
        first = device.read_bytes()
        assert first >= 0
        assert device.read_bytes() >= first


@pytest.mark.parametrize("path", ["/proc/self", "/nowhere/at/all"])
def test_where_there_is_no_device(path):
    device = find_device(path)
    assert device.name is None
    assert device.missing
    assert device.read_bytes() is None
    assert IoCounters.now(path).device_read_bytes is None


def test_memory_is_told_apart():
    if block_device.find_device("/dev/shm").file_system != "tmpfs":
        pytest.skip("/dev/shm is no tmpfs here")
    device = find_device("/dev/shm")
    assert device.in_memory
    assert "memory" in device.missing


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_cpu_time_counts_children():
    before = process_tree_cpu_s()
    burning = "import time\nwhile time.process_time() < 0.1: pass"
    subprocess.run([sys.executable, "-c", burning], check=True)
    assert process_tree_cpu_s() - before >= 0.09


def test_a_sampler_covers_its_block(tmp_path):
    with Sampler(tmp_path, interval_s=0.02) as sampler:
        burn(0.15)
    result = sampler.result
    ends = [sample.elapsed_s for sample in result.series]
    assert ends == sorted(ends)
    assert len(ends) >= 2
    assert sum(sample.interval_s for sample in result.series) == pytest.approx(result.wall_s)
    assert result.process_cpu_pct > 0
    assert all(0 <= sample.machine_cpu_pct <= 100 for sample in result.series)
    busy = sum(sample.process_cpu_pct * sample.interval_s for sample in result.series)
    assert busy == pytest.approx(result.process_cpu_pct * result.wall_s, rel=1e-6, abs=1e-3)
    assert (result.device_read_bytes_s is None) == (result.device_missing is not None)


def test_a_long_series_is_thinned(tmp_path, monkeypatch):
    monkeypatch.setattr(counters, "MAX_SAMPLES", 8)
    with Sampler(tmp_path, interval_s=0.001) as sampler:
        while sampler.interval_s == 0.001 and len(sampler._readings) < 7:
            time.sleep(0.001)
        time.sleep(0.1)
    assert 1 <= len(sampler.result.series) <= 8
    assert sum(s.interval_s for s in sampler.result.series) == pytest.approx(sampler.result.wall_s)


def test_an_error_in_the_block_ends_the_thread(tmp_path):
    sampler = Sampler(tmp_path)
    with pytest.raises(KeyError), sampler:
        raise KeyError
    assert not sampler._thread.is_alive()
    assert sampler.result.wall_s >= 0
    with pytest.raises(RuntimeError, match="has not ended"):
        _ = Sampler(tmp_path).result
    with pytest.raises(ValueError, match="more than 0"):
        Sampler(tmp_path, interval_s=0)
