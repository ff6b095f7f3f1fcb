"""Disks and shares that fail: nothing is blamed on a file that only the system could not read."""

import errno
import json
import shutil
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest
from failing_calls import fail, run_dl2
from jpegs import contents

from dl2cli import pcr
from dl2cli.errors import FILE_ERRNOS, StorageError, is_file_fault
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.index import RecordRows
from dl2cli.pcr.pipeline import Pipeline
from dl2cli_native import _core

SYSTEM_ERRNOS = (
    *(errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENOMEM, errno.EMFILE, errno.ENFILE),
    *(errno.ETIMEDOUT, errno.EHOSTDOWN, errno.EREMOTEIO, errno.ENODEV, errno.EAGAIN),
)


def test_both_languages_hold_the_same_errors_against_a_file() -> None:
    ours = {code for code in errno.errorcode if is_file_fault(OSError(code, "text"))}
    assert ours == FILE_ERRNOS
    assert {code for code in errno.errorcode if _core.is_file_fault(code)} == FILE_ERRNOS
    assert not FILE_ERRNOS & set(SYSTEM_ERRNOS)
    assert is_file_fault(OSError("image file is truncated"))  # Pillow's have no code
    assert not is_file_fault(MemoryError())


@pytest.mark.parametrize("call", ["open", "read"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOMEM, errno.EMFILE])
def test_a_source_that_cannot_be_read_stops_and_the_same_command_goes_on(
    config: ConvertConfig, tmp_path: Path, call: str, code: int
) -> None:
    command = ("convert", config.source, config.out, "--images-per-record", 4, "-w", 1, "--json")
    run = run_dl2(*command, rules=[fail(call, "/photos/", code, after=14)])
    assert run.returncode == 1
    assert f"{config.source}/" in run.stderr
    assert "cannot be read" in run.stderr
    assert "unexpected" not in run.stderr
    assert len(list(config.out.glob("PCR_[0-9]*.db"))) >= 2
    again = json.loads(run_dl2(*command, rules=[]).stdout)["datasets"][0]
    assert (again["images"], again["rejected"]) == (21, [])
    assert again["resumed_records"] >= 2
    run_dl2("convert", config.source, tmp_path / "fresh", *command[3:], rules=[])
    assert contents(config.out) == contents(tmp_path / "fresh")


def test_a_foreign_image_that_cannot_be_read_stops(config: ConvertConfig) -> None:
    # The native core opens it first, and finds no JPEG; Pillow's turn is the second one.
    photo = next(config.source.rglob("*.jpg"))
    (photo.parent / "odd.png").write_bytes(b"\x89PNG\r\n\x1a\n rest")
    run = run_dl2(
        "convert", config.source, config.out, rules=[fail("open", "odd.png", errno.EIO, after=1)]
    )
    assert run.returncode == 1
    assert "odd.png cannot be read: Input/output error" in run.stderr


def test_a_file_without_permission_or_gone_is_rejected(config: ConvertConfig) -> None:
    rules = [fail("open", "ant/3.jpg", errno.EACCES), fail("open", "bee/2.jpg", errno.ENOENT)]
    run = run_dl2("convert", config.source, config.out, "--json", rules=rules)
    result = json.loads(run.stdout)["datasets"][0]
    assert result["images"] == 19
    assert {each["path"] for each in result["rejected"]} == {"ant/3.jpg", "bee/2.jpg"}


@pytest.mark.parametrize("call", ["opendir", "readdir"])
def test_a_class_folder_that_cannot_be_listed_stops(config: ConvertConfig, call: str) -> None:
    rules = [fail(call, "/photos/bee", errno.EIO)]
    for command in (
        ("convert", config.source, config.out),
        ("convert", config.source, config.out, "--dry-run"),
    ):
        run = run_dl2(*command, rules=rules)
        assert run.returncode == 1
        assert "photos/bee cannot be read: Input/output error" in run.stderr
    assert not list(config.out.glob("*"))


def test_a_source_that_was_unmounted_is_noticed(config: ConvertConfig, tmp_path: Path) -> None:
    def unmount(self: Pipeline, records: Iterable[Any]) -> Generator[RecordRows, None, None]:
        config.source.rename(tmp_path / "elsewhere")
        config.source.mkdir()
        yield from run(self, records)

    run = Pipeline.run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pipeline, "run", unmount)
        with pytest.raises(StorageError, match="was a share unmounted"):
            convert(config)
    shutil.rmtree(config.source)
    (tmp_path / "elsewhere").rename(config.source)
    assert convert(config).images == 21


def test_verify_and_extract_stop_at_a_record_that_cannot_be_read(
    config: ConvertConfig, tmp_path: Path
) -> None:
    convert(config)
    rules = [fail("read", "/out/PCR_1.db", errno.EIO)]
    for command in (
        ("inspect", config.out, "--verify"),
        ("extract", config.out, tmp_path / "back"),
    ):
        run = run_dl2(*command, rules=rules)
        assert run.returncode == 1, run.stdout
        assert "PCR_1.db cannot be read: Input/output error" in run.stderr


def test_verify_stops_at_a_source_that_cannot_be_read(config: ConvertConfig) -> None:
    convert(config)
    command = ("inspect", config.out, "--verify", "--against", config.source)
    run = run_dl2(*command, rules=[fail("open", "/photos/bee/1.jpg", errno.ESTALE)])
    assert run.returncode == 1
    assert "bee/1.jpg cannot be read: Stale file handle" in run.stderr
    run = run_dl2(*command, rules=[fail("open", "/photos/bee/1.jpg", errno.EACCES)])
    assert run.returncode == 3
    assert "Permission denied" in run.stdout
    assert pcr.open(config.out).image_count == 21


def test_an_index_that_cannot_be_read_is_no_damage(config: ConvertConfig) -> None:
    convert(config)
    run = run_dl2("inspect", config.out, rules=[fail("read", "/out/PCR.db", errno.EIO)])
    assert run.returncode == 1
    assert "PCR.db cannot be opened: disk I/O error" in run.stderr


NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF)


@pytest.mark.parametrize("code", NO_LOCKS)
def test_a_file_system_without_locks_is_enough(config: ConvertConfig, code: int) -> None:
    rules = [fail("flock", "/out", code), fail("lock", "/out", code)]
    run = run_dl2("convert", config.source, config.out, "--json", rules=rules)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["datasets"][0]["images"] == 21
    assert "has no locks" in run.stderr
    assert json.loads(run.stdout)["datasets"][0]["notes"]
    for command in (("inspect", config.out, "--verify"), ("convert", config.source, config.out)):
        run = run_dl2(*command, rules=rules)
        assert run.returncode == 0, run.stderr


def test_only_a_lock_that_is_held_means_another_conversion(config: ConvertConfig) -> None:
    rules = [fail("flock", "/out", errno.EWOULDBLOCK)]
    run = run_dl2("convert", config.source, config.out, rules=rules)
    assert run.returncode == 2
    assert "Another conversion is writing to" in run.stderr


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS])
def test_folders_that_cannot_be_synced_are_no_error(config: ConvertConfig, code: int) -> None:
    run = run_dl2("convert", config.source, config.out, rules=[fail("fsync_folder", "/out", code)])
    assert run.returncode == 0, run.stderr
    assert sorted(each.name for each in config.out.iterdir())[:2] == ["PCR.db", "PCR_0.db"]
    assert not (config.out / "PCR.db-journal").exists()


@pytest.mark.parametrize("call", ["fsync_folder", "fsync", "write"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_what_cannot_be_made_durable_stops_and_resumes(
    config: ConvertConfig, tmp_path: Path, call: str, code: int
) -> None:
    command = ("--images-per-record", 4, "-w", 1)
    rules = [fail(call, "/out", code, after=3)]
    run = run_dl2("convert", config.source, config.out, *command, rules=rules)
    assert run.returncode == 1, run.stdout
    assert "unexpected" not in run.stderr
    assert "resumes" in run.stderr
    again = run_dl2("convert", config.source, config.out, *command, "--json", rules=[])
    assert json.loads(again.stdout)["datasets"][0]["images"] == 21
    run_dl2("convert", config.source, tmp_path / "fresh", *command, rules=[])
    assert contents(config.out) == contents(tmp_path / "fresh")


def test_a_finished_dataset_opens_on_a_medium_that_nobody_may_write(config: ConvertConfig) -> None:
    convert(config)
    for path in config.out.iterdir():
        path.chmod(0o444)
    config.out.chmod(0o555)
    try:
        assert pcr.open(config.out).image_count == 21
        assert convert(config).images == 21
    finally:
        config.out.chmod(0o755)
