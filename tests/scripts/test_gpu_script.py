"""scripts/test_gpu.sh on a CPU: every part runs and says what it found, cut short or not."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import gpu_parts

        yield gpu_parts
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def plan(parts, tmp_path_factory):
    plan = replace(parts.make_plan("cpu", tmp_path_factory.mktemp("gpu")), compiled=(False,))
    (row,) = parts.photos(plan)
    assert row.figures["images"] == plan.images
    assert len(list((plan.work / "photos").glob("*/*.jpg"))) == plan.images
    return plan


def bench_gpu(*arguments, device="cpu"):
    environment = os.environ | {"DL2_TEST_GPU_DEVICE": device}
    command = [sys.executable, str(SCRIPTS / "bench_gpu.py"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_dl2_and_the_bare_loop_are_timed_in_turn(parts, plan):
    rows = list(parts.synthetic(plan))
    assert [row.what for row in rows] == ["small_cnn float16", "small_cnn bfloat16"]
    for row in rows:
        assert row.ok is None  # nothing is judged on a CPU
        assert row.figures["dl2_img_s"] > 0
        assert row.figures["bare_img_s"] > 0


def test_each_loader_feeds_the_same_training(parts, plan):
    rows = {row.what: row.figures for row in parts.loaders(plan)}
    assert list(rows) == ["synthetic", "pcr k=10", "jpeg", "pytorch", "pcr k=5", "pcr k=1"]
    sizes = [rows[name]["bytes_an_image"] for name in ("pcr k=10", "pcr k=5", "pcr k=1")]
    assert sizes == sorted(sizes, reverse=True)
    assert rows["synthetic"]["bytes_an_image"] == 0


def test_slow_storage_shows_as_a_stall_in_the_log_and_against_synthetic(parts, plan):
    for row in parts.stalls(plan):
        assert row.what.startswith("pcr k=10 at ")
        assert 0 < row.figures["logged_stall"] < 1
        assert 0 <= row.figures["stall_against_synthetic"] < 1


@pytest.mark.slow
def test_processes_meet_and_the_verdicts_of_bench_io_are_read(parts, plan):
    alone, one, two = parts.processes(plan)
    assert alone.ok
    assert one.figures["img_s"] > 0
    assert two.what == "dl2 train, 2 processes"
    storage, compute = parts.bench_io(plan)
    for row in (storage, compute):
        assert row.note.startswith("Bottleneck: ")
    assert storage.figures["bound"] == "storage"


def test_dali_is_skipped_on_a_cpu_with_a_sentence(parts, plan):
    (row,) = parts.dali(plan)
    assert row.note == "Skipped: DALI decodes on a GPU, and this is a CPU."


def test_memory_decides_the_size_of_batches(parts, monkeypatch, tmp_path):
    torch = pytest.importorskip("torch")
    for free_bytes, batch in ((80e9, 256), (24e9, 128), (8e9, 32), (1e9, 8)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free_bytes: (free, 80e9))
        assert parts.make_plan("cuda", tmp_path).training.batch_size == batch


@pytest.mark.slow
def test_results_are_written_and_another_run_adds_to_them(tmp_path):
    results = tmp_path / "results.json"
    done = bench_gpu(results, "--parts", "photos,dali", "--work", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "the figures mean nothing" in done.stdout
    document = json.loads(results.read_text())
    assert [row["part"] for row in document["rows"]] == ["photos", "dali"]
    assert document["machine"]["device"] == "cpu"
    assert bench_gpu(results, "--parts", "tests", "--work", tmp_path).returncode == 0
    row = json.loads(results.read_text())["rows"][2]
    assert row["part"] == "tests"
    assert row["figures"]["passed"] + row["figures"]["skipped"] > 0


def test_without_time_each_part_is_skipped_with_a_sentence(tmp_path):
    results = tmp_path / "results.json"
    done = bench_gpu(results, "--seconds", 0)
    assert done.returncode == 0, done.stderr
    rows = json.loads(results.read_text())["rows"]
    assert {row["part"] for row in rows} >= {"tests", "synthetic", "bench-io", "dali"}
    assert all(row["note"].startswith("Skipped: ") for row in rows)


def test_a_part_that_fails_is_told_and_the_next_one_runs(tmp_path):
    results = tmp_path / "results.json"
    (tmp_path / "photos").write_text("not a folder")
    (tmp_path / "pcr").mkdir()
    (tmp_path / "pcr" / "PCR.db").write_text("not an index")
    done = bench_gpu(results, "--parts", "stalls,dali", "--work", tmp_path)
    assert done.returncode == 1
    failed, skipped = json.loads(results.read_text())["rows"]
    assert (failed["part"], failed["ok"]) == ("stalls", False)
    assert "PCR.db" in failed["note"]
    assert skipped["part"] == "dali"
    assert "Wrong, or below its goal: stalls: failed" in done.stderr


def test_what_takes_too_long_is_ended_with_what_it_started(parts, tmp_path):
    from bench_gpu import run_limited

    pid = tmp_path / "pid"
    code, _ = run_limited(["sh", "-c", f"sleep 600 & echo $! >{pid}; wait"], 1.0)
    assert code is None
    for _ in range(100):
        try:
            os.kill(int(pid.read_text()), 0)
        except ProcessLookupError:
            return
        if "\nState:\tZ" in Path(f"/proc/{int(pid.read_text())}/status").read_text():
            return  # nobody is there to reap it
        time.sleep(0.1)
    pytest.fail("the process that the part started is still there")


def test_without_a_gpu_it_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = bench_gpu(tmp_path / "results.json", device="cuda")
    assert done.returncode == 4
    assert "There is no GPU that torch can use" in done.stderr


@pytest.mark.parametrize("arguments", [["--offline"], ["--offline", "no/folder"], ["folder"]])
def test_the_script_explains_its_usage(arguments):
    script = [str(SCRIPTS / "test_gpu.sh"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "usage: scripts/test_gpu.sh [--offline FOLDER]" in done.stderr
