"""Several processes with gloo, as torchrun starts them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from train_runs import curve, records

SCRIPT = Path(__file__).with_name("gloo_run.py")
TESTS = Path(__file__).parent.parent


def torchrun(ranks: int, *, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Train in processes of their own; options as in `small_config`."""
    command = [sys.executable]
    if ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    command.append(str(SCRIPT))
    paths = os.pathsep.join([str(TESTS), str(TESTS / "training")])
    result = subprocess.run(
        [*command, json.dumps(options, default=str)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def _losses(folder: Path) -> list[tuple[int, int, float]]:
    logged = records(folder / "experiment_report.json", "T")
    return [(r["step"][1], r["step"][2], r["t.loss"]) for r in logged]


@pytest.fixture(scope="module")
def straight(sample_pcr: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process with batches of 12."""
    folder = tmp_path_factory.mktemp("one")
    torchrun(1, data=sample_pcr, folder=folder, data_batch_size=12, data_lanes=6, print_freq=1)
    return folder


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_learn_what_one_process_does(
    ranks: int, straight: Path, sample_pcr: Path, tmp_path: Path
):
    result = torchrun(
        ranks,
        data=sample_pcr,
        folder=tmp_path,
        data_batch_size=12 // ranks,
        data_lanes=6,
        print_freq=1,
    )
    told = [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]
    assert sorted(each["rank"] for each in told) == list(range(ranks))
    assert len({each["steps"] for each in told}) == 1
    # Threads of the control group, which hold Python's tensors, would abort a process that ends:
    # they are waited for. Those of the group that holds gradients (two) may stay.
    assert all(each["gloo_threads"] <= 2 for each in told)
    for one, many in zip(_losses(straight), _losses(tmp_path), strict=True):
        assert one[:2] == many[:2]
        assert many[2] == pytest.approx(one[2], rel=1e-4)
    ends = [records(f / "experiment_report.json", "E") for f in (straight, tmp_path)]
    for one, many in zip(*ends, strict=True):
        assert many["v.loss"] == pytest.approx(one["v.loss"], rel=1e-4)
        assert many["v.top1"] == pytest.approx(one["v.top1"], abs=100 / 12 + 1e-9)
    assert {f"train_data_{rank}.csv" for rank in range(ranks)} <= {
        f.name for f in tmp_path.iterdir()
    }


def test_two_ranks_stop_and_three_go_on(straight: Path, sample_pcr: Path, tmp_path: Path):
    """The signal reaches one rank; both stop after the same step, in the middle of an epoch."""
    common = {"data": sample_pcr, "folder": tmp_path, "print_freq": 1}
    stopped = torchrun(2, **common, data_batch_size=6, data_lanes=6, rank_only=1, stop_after=1)
    told = [json.loads(line) for line in stopped.stdout.splitlines() if line.startswith("{")]
    assert [each["status"] for each in told] == ["stopped"] * 2
    assert len({each["steps"] for each in told}) == 1
    torchrun(3, **common, data_batch_size=4, checkpoint_resume=tmp_path)
    for one, many in zip(_losses(straight), _losses(tmp_path), strict=True):
        assert one[:2] == many[:2]
        assert many[2] == pytest.approx(one[2], rel=1e-4)


def test_ranks_follow_a_curriculum_and_others_go_on(sample_pcr: Path, tmp_path: Path):
    one, two = tmp_path / "one", tmp_path / "two"
    common = {
        "data": sample_pcr, "data_lanes": 6, "print_freq": 1, "fidelity": ("2@0,10@1", "16@0,32@1"),
    }  # fmt: skip
    torchrun(1, **common, folder=one, data_batch_size=12)
    torchrun(2, **common, folder=two, data_batch_size=6, rank_only=1, stop_after=1)
    torchrun(3, **common, folder=two, data_batch_size=4, checkpoint_resume=two)
    for straight, many in zip(_losses(one), _losses(two), strict=True):
        assert straight[:2] == many[:2]
        assert many[2] == pytest.approx(straight[2], rel=1e-4)
    ends = records(two / "experiment_report.json", "E")
    assert [(end["e.scans"], end["e.size"]) for end in ends] == [(2, 16), (10, 32)]


def test_a_killed_process_goes_on_as_if_nothing_had_happened(
    straight: Path, sample_pcr: Path, tmp_path: Path
):
    """SIGKILL in the middle of the second epoch, some steps behind the last checkpoint."""
    common = {"data": sample_pcr, "folder": tmp_path, "data_batch_size": 12, "print_freq": 1}
    common |= {"data_lanes": 6, "checkpoint_every_steps": 1}
    killed = torchrun(1, check=False, **common, die_after=6)
    assert killed.returncode == -9
    log = tmp_path / "experiment_report.json"
    assert len(curve(log)) < len(curve(straight / log.name))
    torchrun(1, **common, checkpoint_resume=tmp_path)
    assert curve(log) == curve(straight / log.name)


def test_a_rank_that_dies_ends_the_job(sample_pcr: Path, tmp_path: Path):
    result = torchrun(
        2, check=False, data=sample_pcr, folder=tmp_path, rank_only=1, die_after=2, print_freq=1
    )
    assert result.returncode != 0
    assert "exitcode" in result.stderr  # torchrun's own account of the rank that died


def test_a_rank_that_meets_bad_data_says_so(sample_pcr: Path, tmp_path: Path):
    data = tmp_path / "pcr"
    for file in sample_pcr.rglob("*"):
        if file.is_file():
            (data / file.relative_to(sample_pcr)).parent.mkdir(parents=True, exist_ok=True)
            (data / file.relative_to(sample_pcr)).write_bytes(file.read_bytes())
    record = sorted((data / "train").glob("PCR_*.db"))[0]
    record.write_bytes(record.read_bytes()[:1000])
    result = torchrun(2, check=False, data=data, folder=tmp_path / "run")
    assert result.returncode != 0
    assert f"{record.name}" in result.stderr
    assert "another rank has ended" in result.stderr or "exitcode" in result.stderr
