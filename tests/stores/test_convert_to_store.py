"""Conversions whose result goes to a store: record by record, on one machine or in parts."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from failing_calls import kill, run_dl2
from jpegs import contents
from store_servers import FaultProxy, S3Server, fault_proxy, in_store, silent, status
from typer.testing import CliRunner

from dl2cli.cli.main import app
from dl2cli.dataset.location import locate
from dl2cli.errors import Dl2Error
from dl2cli.pcr import index
from dl2cli.pcr.dataset_files import local_file
from dl2cli.stores.path import StorePath, dataset_path
from dl2cli.stores.writer import StoreWriter

RECORDS = ("--images-per-record", "7")


def convert(*arguments: object) -> list[dict[str, object]]:
    """Run the command; returns what its JSON says of each dataset."""
    done = CliRunner().invoke(app, ["convert", *map(str, arguments), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    datasets: list[dict[str, object]] = json.loads(done.stdout)["datasets"]
    return datasets


def refusal(*arguments: object) -> str:
    """Run a command that is refused; returns its reason."""
    done = CliRunner().invoke(app, ["convert", *map(str, arguments)])
    assert isinstance(done.exception, Dl2Error), (done.output, done.exception)
    return str(done.exception)


def is_whole(target: Path, dataset: Path) -> bool:
    return in_store(str(target), contents(dataset)) == contents(dataset)


def is_there(target: Path) -> bool:
    return local_file(target / index.INDEX, None) is not None


@pytest.fixture
def bucket(s3: str) -> Path:
    return dataset_path(s3).parent


def test_the_result_is_that_of_a_folder(
    bucket: Path, folder: Path, dataset: Path, cache: Path
) -> None:
    target = bucket / "converted"
    (first,) = convert(folder, target, *RECORDS)
    assert is_whole(target, dataset)
    (again,) = convert(folder, target, *RECORDS)  # finds everything there
    assert (first["resumed_records"], again["resumed_records"]) == (0, 5)
    for key in ("out", "images", "source_bytes", "output_bytes", "bytes_at_scans"):
        assert first[key] == again[key]
    assert first["out"] == str(target)
    assert not list((cache / "dl2" / "conversions").iterdir())
    said = refusal(folder, target, "--images-per-record", 8)
    assert f"There is a finished dataset at {target}" in said
    assert "finished dataset" in refusal(folder, target, *RECORDS, "--force")


def test_splits_go_to_splits(bucket: Path, sample_set: Path) -> None:
    target = bucket / "splits"
    convert(sample_set, target)
    assert [split.name for split in locate(target).splits] == ["train", "val"]


@pytest.mark.parametrize(
    "killed",
    [
        kill("rename", "PCR_3.db", 0),  # a record that is made
        kill("rename", "PCR.db", 1),  # the index that says that all records are there
    ],
)
def test_a_killed_conversion_goes_on(
    bucket: Path, folder: Path, dataset: Path, killed: str
) -> None:
    target = bucket / f"killed-{len(killed)}"
    run = run_dl2("convert", folder, target, *RECORDS, rules=[killed])
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert not is_there(target)
    convert(folder, target, *RECORDS)
    assert is_whole(target, dataset)


def test_what_the_store_lost_is_made_again(bucket: Path, folder: Path, dataset: Path) -> None:
    target = bucket / "lost"
    assert isinstance(target, StorePath)
    run = run_dl2("convert", folder, target, *RECORDS, rules=[kill("rename", "PCR.db", 1)])
    assert run.returncode == -signal.SIGKILL, run.stderr
    writer = StoreWriter(target)
    writer.remove("PCR_0.db")
    writer.remove("PCR_0.db")  # is gone already
    writer.write("PCR_2.db", [b"short"])
    writer.write("PCR_3.db", [b""])
    (result,) = convert(folder, target, *RECORDS)
    assert result["resumed_records"] == 2
    assert is_whole(target, dataset)


def test_other_options_begin_anew_only_with_force(
    bucket: Path, folder: Path, dataset: Path
) -> None:
    target = bucket / "forced"
    killed = [kill("rename", "PCR_3.db", 0)]
    run = run_dl2("convert", folder, target, "--images-per-record", 8, rules=killed)
    assert run.returncode == -signal.SIGKILL, run.stderr
    said = refusal(folder, target, *RECORDS)
    assert f"{target} holds an unfinished conversion with other options" in said
    convert(folder, target, *RECORDS, "--force")
    assert is_whole(target, dataset)


def test_only_a_few_records_are_on_this_machine(
    s3_url: Callable[[str], str], folder: Path, cache: Path
) -> None:
    target = dataset_path(s3_url("moto")).parent / "few"
    most, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.001):
            most = max(most, len(list(cache.glob("dl2/conversions/*/PCR_[0-9]*.db"))))

    thread = threading.Thread(target=watch)
    thread.start()
    (result,) = convert(folder, target, "--images-per-record", 1)
    ended.set()
    thread.join()
    assert result["records"] == 33
    assert most <= 6  # four on their way, one that is made and one that is written


class TestFaults:
    """An S3 behind a proxy that fails."""

    @pytest.fixture
    def proxy(
        self, s3_server: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch
    ) -> Iterator[FaultProxy]:
        server = s3_server("moto")
        with fault_proxy(server.endpoint) as proxy:
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            yield proxy

    def test_a_store_that_is_busy_is_asked_again(
        self, proxy: FaultProxy, folder: Path, dataset: Path
    ) -> None:
        target = dataset_path("s3://photos/busy")
        proxy.fault(r"PCR_[0-3]\.db", status(503, ("Retry-After", "1")), times=1)
        convert(folder, target, *RECORDS)
        proxy.clear()
        assert is_whole(target, dataset)

    def test_a_store_that_refuses_ends_it_and_it_goes_on(
        self, proxy: FaultProxy, folder: Path, dataset: Path
    ) -> None:
        target = dataset_path("s3://photos/refuses")
        proxy.fault(r"PCR_4\.db", status(403))
        said = refusal(folder, target, *RECORDS)
        assert f"{target}/PCR_4.db cannot be written" in said
        assert "403" in said
        assert "the same command resumes" in said
        proxy.clear()
        assert not is_there(target)
        (result,) = convert(folder, target, *RECORDS)
        assert result["resumed_records"] == 4
        assert is_whole(target, dataset)

    def test_ctrl_c_does_not_wait_for_a_silent_store(
        self, proxy: FaultProxy, folder: Path, dataset: Path
    ) -> None:
        target = dataset_path("s3://photos/silent")
        proxy.fault(r"PCR_2\.db", silent)
        line = [sys.executable, "-m", "dl2cli", "convert", folder, target, *RECORDS]
        process = subprocess.Popen(list(map(str, line)), stderr=subprocess.PIPE)
        while not any("PCR_2.db" in path for path, _ in list(proxy.seen)):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"the same command resumes" in b" ".join(said.split())
        proxy.clear()
        convert(folder, target, *RECORDS)
        assert is_whole(target, dataset)


class TestParts:
    def test_parts_on_machines_with_nothing_in_common(
        self,
        bucket: Path,
        folder: Path,
        dataset: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        target = bucket / "parts"

        def machine(name: str) -> None:
            monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))

        machine("merger")
        assert f"{target} holds no parts of a conversion" in refusal(target, "--merge")
        for number in (3, 1):
            machine(f"machine {number}")
            (part,) = convert(folder, target, *RECORDS, f"--part={number}/3")
            assert (part["part"], part["waiting_for"]) == ([number, 3], None)
        machine("merger")
        assert "cannot be merged yet: part 2/3 is not done" in refusal(target, "--merge")
        machine("machine 2")
        killed = [kill("rename", "PCR_4.db", 0)]
        run = run_dl2("convert", folder, target, *RECORDS, "--part=2/3", rules=killed)
        assert run.returncode == -signal.SIGKILL, run.stderr
        convert(folder, target, *RECORDS, "--part=2/3")
        machine("machine 4")
        (part,) = convert(folder, target, *RECORDS, "--part=3/3")  # again, elsewhere
        assert part["resumed_records"] == part["records"] == 1
        assert "with other options" in refusal(folder, target, "--part=3/3")
        assert not is_there(target)
        machine("merger")
        (merged,) = convert(target, "--merge")
        assert (merged["images"], merged["out"]) == (33, str(target))
        assert is_whole(target, dataset)
        assert not list((tmp_path / "merger/dl2/conversions").iterdir())
        for name in ("PCR_parts.json", *(f"PCR_part_{n}_of_3.db" for n in (1, 2, 3))):
            assert local_file(target / name, None) is None
        assert "holds no parts" in refusal(target, "--merge")
        (part,) = convert(folder, target, *RECORDS, "--part=1/3")  # is in the dataset
        assert part["resumed_records"] == part["records"]

    def test_splits_are_merged_one_by_one(self, bucket: Path, sample_set: Path) -> None:
        target = bucket / "split-parts"
        for number in (1, 2):
            convert(sample_set, target, f"--part={number}/2")
        assert len(convert(target, "--merge")) == 2
        assert [split.name for split in locate(target).splits] == ["train", "val"]

    def test_a_note_without_a_number_is_said(self, bucket: Path) -> None:
        target = bucket / "strange"
        assert isinstance(target, StorePath)
        StoreWriter(target).write("PCR_parts.json", [b"[]"])
        assert "does not say how many parts" in refusal(target, "--merge")


def test_what_needs_a_folder_says_so(folder: Path) -> None:
    said = refusal(folder, "s3://bucket/out", "--to=webp")
    assert "--to needs a folder for OUT" in said
    assert "SOURCE must be on this machine" in refusal("s3://bucket/in", "out")
