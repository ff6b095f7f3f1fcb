"""The whole measurement, for real, in situations that leave no doubt about the bottleneck."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from bench_photos import make_dataset, make_folder

from dl2cli.bench import run as run_module
from dl2cli.bench.config import BenchConfig, ComputeConfig
from dl2cli.bench.export import FIELDS, draw_curves, to_csv
from dl2cli.bench.result import BenchInterrupted, BenchResult
from dl2cli.bench.run import BenchProgress, bench
from dl2cli.cli.framework.output import jsonable
from dl2cli.errors import UsageError
from dl2cli.report.model import BenchIoRun
from dl2cli.report.read.discover import Finder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 small images, about 3 kB each, which take well under a millisecond to decode."""
    root = tmp_path_factory.mktemp("bench-small")
    return make_dataset(make_folder(root / "photos", 48, 64, 48), root / "pcr", 6)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take several milliseconds to decode."""
    root = tmp_path_factory.mktemp("bench-large")
    return make_dataset(make_folder(root / "photos", 24, 640, 480), root / "pcr", 4)


def measure(
    data: Path,
    rate_img_s: float | None,
    on_progress: Callable[[BenchProgress], None] | None = None,
    **options: object,
) -> BenchResult:
    given = {
        "batch_size": 4, "image_size": 32, "repeat": 1, "run_s": 1.0, "storage": False,
        "sample_images": 0, "checks": 0, "scans": (10,), "workers": (1,),
        "compute": ComputeConfig(rate_img_s=rate_img_s), **options,
    }  # fmt: skip
    return bench(BenchConfig(data, **given), on_progress)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def throttled(small: Path) -> BenchResult:
    return measure(small, 5000.0, throttle="40kB/s", scans=(1, 10), checks=1)


def test_throttled_storage_is_found(throttled: BenchResult) -> None:
    verdict = throttled.verdict
    assert verdict is not None and throttled.stalls is not None
    assert verdict.bound == "storage"
    assert verdict.sentence.startswith(
        "Bottleneck: storage. pcr k=10, 1 worker, throttled to 40kB/s"
    )
    assert throttled.stalls.fetch_s > throttled.stalls.prep_s
    assert verdict.au < 0.5
    run = throttled.runs[-1]
    assert (run.condition, run.storage, run.bound) == ("throttled", "40kB/s", "storage")
    # What was read cannot have been faster than the throttle lets it be.
    assert run.rate_img_s * run.bytes_per_image <= 40e3 * 1.2


def test_fewer_scans_are_recommended_where_storage_bounds(throttled: BenchResult) -> None:
    fewer = [r for r in throttled.recommendations if "--scans 1 " in (r.command or "")]
    assert fewer and fewer[0].gain > 1.5
    assert throttled.what_if is not None
    assert throttled.what_if.now.bandwidth_bytes_s == 40e3
    # The check that was asked for, and the throttled runs themselves.
    assert len(throttled.what_if.checks) == 3
    assert all(check.measured_img_s.median > 0 for check in throttled.what_if.checks)


def test_one_worker_and_a_trivial_model_wait_for_decoding(large: Path) -> None:
    result = measure(large, 1e6, batch_size=2)
    assert result.verdict is not None and result.stalls is not None
    assert result.verdict.bound == "prep"
    assert result.verdict.sentence.startswith("Bottleneck: decoding.")
    assert result.stalls.prep_s > result.stalls.compute_s
    assert result.verdict.au < 0.5


def test_a_slow_accelerator_is_found(small: Path) -> None:
    result = measure(small, 15.0)
    assert result.verdict is not None and result.stalls is not None
    assert result.verdict.bound == "compute"
    assert result.verdict.sentence.startswith("Bottleneck: compute.")
    assert result.verdict.au > 0.6
    assert result.stalls.shares[0] > 0.6


def test_a_real_model_on_plain_files(large: Path) -> None:
    folder = large.parent / "photos"
    result = measure(folder, None, loaders=("pytorch",), image_size=32, scans=(), run_s=0.1)
    assert result.compute is not None
    assert (result.compute.arch, result.compute.device) == ("small_cnn", "cpu")
    assert any("on the CPU" in note for note in result.notes)
    assert any("AU counts decoding as waiting" in note for note in result.notes)
    assert [run.condition for run in result.runs] == ["synthetic", "warm", "cold"]
    assert result.what_if is not None
    assert result.what_if.scans == (None,)


def test_reports_read_it(throttled: BenchResult, tmp_path: Path) -> None:
    document = {"schema_version": 1, **jsonable(throttled)}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(document, allow_nan=False))
    corpus = Finder([path]).load()
    found = {run.source.run.removeprefix("bench: "): run for run in corpus.runs}
    assert set(found) == {run.name for run in throttled.runs}
    for run in throttled.runs:
        read = found[run.name]
        assert isinstance(read, BenchIoRun)
        assert read.rate_img_s == run.rate_img_s
        assert (read.fetch_stall_s, read.prep_stall_s, read.compute_s) == (
            run.fetch_stall_s, run.prep_stall_s, run.compute_s,
        )  # fmt: skip
        assert (read.bound, read.images) == (run.bound, run.images)
        assert read.setup.workers == run.workers


def test_csv_has_a_line_a_run(throttled: BenchResult) -> None:
    rows = list(csv.DictReader(to_csv(throttled).splitlines()))
    assert tuple(rows[0]) == FIELDS
    assert [row["name"] for row in rows] == [run.name for run in throttled.runs]
    assert float(rows[-1]["rate_low_img_s"]) <= float(rows[-1]["rate_img_s"])
    assert rows[0]["fetch_stall_s"] == ""


def test_the_picture_is_drawn(throttled: BenchResult, tmp_path: Path) -> None:
    assert throttled.what_if is not None
    for name in ("curves.png", "curves.svg"):
        draw_curves(throttled.what_if, "photos", tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_progress_ends_and_never_goes_back(small: Path) -> None:
    states: list[BenchProgress] = []
    measure(small, 5000.0, states.append, storage=True, sample_images=8, repeat=2)
    done = [state.done_s for state in states]
    assert done == sorted(done)
    assert done[-1] == pytest.approx(states[-1].total_s)
    assert all(state.doing for state in states)


@pytest.mark.parametrize("after", ["first run", "round 1", "round 2"])
def test_ctrl_c_keeps_what_is_known(small: Path, after: str) -> None:
    def interrupt(state: BenchProgress) -> None:
        if state.doing.startswith(after) or f", {after}" in state.doing:
            raise KeyboardInterrupt

    with pytest.raises(BenchInterrupted) as caught:
        measure(small, 5000.0, interrupt, repeat=2)
    result = caught.value.result
    assert not result.complete
    known = after == "round 2"  # everything was measured once
    assert (result.verdict is not None) == known
    assert bool(result.runs) == known
    json.dumps(jsonable(result), allow_nan=False)


def test_questions_are_read_before_anything_is_measured(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module.Measurement, "run", lambda self: pytest.fail("measured"))
    for wrong in ({"scenarios": ("speed=3",)}, {"throttle": "fast"}, {"batch_size": 1000}):
        with pytest.raises(UsageError):
            measure(small, 5000.0, **wrong)  # type: ignore[arg-type]


def test_what_the_data_warns_of_is_a_note(tmp_path: Path) -> None:
    photos = make_folder(tmp_path / "photos", 48, 64, 48)
    (photos / "zebra").mkdir()
    result = measure(photos, 5000.0, loaders=("jpeg",), scans=())
    assert any("no images of 1 of its" in note and "zebra" in note for note in result.notes)


def test_a_loader_of_the_users_own_is_measured_as_ours_are(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOS", str(large.parent / "photos"))
    options = {"loaders": ("own_loader:make_slow",), "batch_size": 0, "scans": ()}
    result = measure(large.parent / "photos", 5000.0, sample_images=8, checks=2, **options)
    verdict = result.verdict
    assert verdict is not None and result.stalls is not None
    assert verdict.bound == "prep"
    assert verdict.sentence.startswith("Bottleneck: decoding. own_loader:make_slow, from ")
    assert (result.batch_size, result.image_size) == (4, 32)
    assert [run.condition for run in result.runs] == ["synthetic", "warm", "cold"]
    assert result.stalls.prep_s > result.stalls.fetch_s
    assert {each.variant.loader for each in result.loading} == {"own_loader:make_slow", "jpeg"}
    words = " ".join(each.change for each in result.recommendations)
    assert "load with jpeg, 1 worker: it gives " in words
    assert "convert to PCR" in words
    assert all("own_loader" not in (each.command or "") for each in result.recommendations)
    assert any("own_loader:make_slow was run as it is" in note for note in result.notes)


def test_a_batch_size_that_the_users_loader_does_not_have(
    large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTOS", str(large.parent / "photos"))
    with pytest.raises(UsageError, match="gives batches of 4 images"):
        measure(large.parent / "photos", 1e3, loaders=("own_loader:make_slow",), batch_size=8)
