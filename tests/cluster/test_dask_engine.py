"""A conversion on a Dask cluster of processes gives the bytes of one machine, whatever dies."""

import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from dask_processes import DASK, Cluster
from jpegs import contents, jpeg_bytes, photo
from namespaces import Machine, two_machines

from dl2cli import pcr
from dl2cli.cluster.dask_cluster import Build
from dl2cli.cluster.dask_engine import DaskEngine, convert_record
from dl2cli.dataset.discovery import discover
from dl2cli.errors import StorageError, UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.pipeline import split_records
from dl2cli.pcr.plan import record_order

pytest.importorskip("distributed", reason="dask.distributed (the extra `dask`) is needed")


def command(config: ConvertConfig, scheduler: object) -> list[str]:
    dl2 = [sys.executable, "-m", "dl2cli", "convert", str(config.source), str(config.out)]
    return [*dl2, "--images-per-record", "4", "--scheduler", str(scheduler), "--json"]


def run(config: ConvertConfig, scheduler: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(config, scheduler), capture_output=True, text=True, check=False, timeout=300
    )


def whole(config: ConvertConfig, tmp_path: Path) -> dict[str, bytes]:
    undisturbed = replace(config, out=tmp_path / "undisturbed")
    convert(undisturbed)
    return contents(undisturbed.out)


def test_a_cluster_gives_the_same_bytes(
    config: ConvertConfig, tmp_path: Path, cluster: Cluster
) -> None:
    result = run(config, cluster.file)
    assert result.returncode == 0, result.stderr
    (dataset,) = json.loads(result.stdout)["datasets"]
    assert (dataset["images"], dataset["reencoded"]) == (61, 1)
    assert [each["path"] for each in dataset["rejected"]] == ["ant/bad.jpg"]
    assert contents(config.out) == whole(config, tmp_path)


def test_workers_and_drivers_killed_at_random_cost_nothing(
    config: ConvertConfig, tmp_path: Path
) -> None:
    for i in range(120):
        image = photo(320, 240, seed=1000 + i)
        (config.source / "cat" / f"more{i}.jpg").write_bytes(jpeg_bytes(image))
    chance = random.Random(7)
    kills = 0
    with Cluster(tmp_path / "cluster", workers=2) as cluster:
        while True:
            driver = subprocess.Popen(
                command(config, cluster.file), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            records = len(list(config.out.glob("PCR_*.db")))
            while driver.poll() is None and kills < 6:
                if len(list(config.out.glob("PCR_*.db"))) > records + chance.randrange(6):
                    if chance.random() < 0.4:
                        driver.kill()
                    cluster.kill_worker(chance.randrange(2))
                    cluster.add_worker()
                    records = len(list(config.out.glob("PCR_*.db")))
                    kills += 1
                time.sleep(0.01)
            _, errors = driver.communicate(timeout=300)
            if driver.returncode == 0:
                break
            assert driver.returncode == -signal.SIGKILL, errors
    assert kills >= 3
    assert contents(config.out) == whole(config, tmp_path)


def test_a_record_converted_twice_at_once_is_whole(config: ConvertConfig, tmp_path: Path) -> None:
    config.out.mkdir()
    order = record_order(config, discover(config.source))
    _, files = split_records(config, order)[2]
    with ThreadPoolExecutor(8) as pool:
        tasks = [pool.submit(convert_record, config, Build.here(), 2, files) for _ in range(24)]
        rows = {task.result().record_row for task in tasks}
    assert len(rows) == 1
    assert contents(config.out)["PCR_2.db"] == whole(config, tmp_path)["PCR_2.db"]
    assert set(contents(config.out)) == {"PCR_2.db"}


def test_a_worker_of_another_version_is_refused(config: ConvertConfig) -> None:
    with pytest.raises(UsageError, match=r"The worker on .* has .* and the driver"):
        convert_record(config, Build("0.0.1", "1.0"), 0, [])


def test_a_missing_file_is_believed_only_if_the_driver_misses_it_too(
    config: ConvertConfig,
) -> None:
    config.out.mkdir()
    records = split_records(config, record_order(config, discover(config.source)))
    record, files = next(each for each in records if each[1][0].path != "bee/other.png")
    missing = config.source / files[0].path
    missing.rename(config.source / "hidden")  # as on a worker whose mount lacks the file
    rows = convert_record(config, Build.here(), record, files)
    assert rows.unread == (files[0].path,)
    engine = DaskEngine("tcp://127.0.0.1:1")
    engine.check_unread(config, rows)
    (config.source / "hidden").rename(missing)
    with pytest.raises(StorageError, match="can be read here: is the file system mounted"):
        engine.check_unread(config, rows)


@pytest.mark.parametrize(
    ("scheduler", "code", "reason"),
    [
        ("nowhere.json", 2, "There is no scheduler file nowhere.json"),
        ("tcp://127.0.0.1:1", 1, "No Dask scheduler answers at tcp://127.0.0.1:1"),
        ("ftp://host:1", 2, "ftp://host:1 is not the address of a Dask scheduler"),
    ],
)
def test_a_scheduler_that_is_not_there_is_named(
    config: ConvertConfig, scheduler: str, code: int, reason: str
) -> None:
    result = run(config, scheduler)
    assert result.returncode == code
    assert reason in " ".join(result.stderr.split())
    assert "Traceback" not in result.stderr


def test_a_scheduler_that_goes_away_leaves_what_is_done(
    config: ConvertConfig, tmp_path: Path
) -> None:
    with Cluster(tmp_path / "cluster", workers=0) as cluster:
        driver = subprocess.Popen(command(config, cluster.file), stderr=subprocess.PIPE, text=True)
        assert driver.stderr is not None
        for line in driver.stderr:
            if "The scheduler has no workers" in line:
                break
        cluster.scheduler.kill()
        _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "is gone" in errors
    assert "the same command resumes" in " ".join(errors.split())
    assert convert(config).images == 61
    assert pcr.open(config.out).image_count == 61


@pytest.mark.slow
def test_a_cluster_of_two_machines_survives_the_loss_of_one(
    config: ConvertConfig, tmp_path: Path
) -> None:
    for i in range(100):
        image = photo(320, 240, seed=2000 + i)
        (config.source / "cat" / f"more{i}.jpg").write_bytes(jpeg_bytes(image))
    file = tmp_path / "scheduler.json"
    processes = []
    with two_machines() as (head, other), (tmp_path / "log").open("wb") as log:

        def start(machine: Machine, kind: str, *options: object) -> None:
            command = machine.command(DASK, kind, *options, "--no-dashboard")
            processes.append(subprocess.Popen(command, stdout=log, stderr=log))

        start(head, "scheduler", "--host", head.address, "--scheduler-file", file)
        while not file.exists() or not file.read_text().endswith("}"):
            assert processes[0].poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        address = json.loads(file.read_text())["address"]
        for machine in (head, other):
            options = ("--no-nanny", "--nthreads", "1", "--local-directory", tmp_path)
            start(machine, "worker", address, *options)
        driver = subprocess.Popen(head.command(*command(config, address)), stderr=subprocess.PIPE)
        while len(list(config.out.glob("PCR_[0-9]*.db"))) < 4 and driver.poll() is None:
            time.sleep(0.02)
        other.kill_all()
        _, errors = driver.communicate(timeout=300)
        head.kill_all()
        for process in processes:
            process.wait()
    assert driver.returncode == 0, errors
    assert contents(config.out) == whole(config, tmp_path)
