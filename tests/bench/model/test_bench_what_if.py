"""Predictions that can be worked out by hand, and how questions are read."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from pytest import MonkeyPatch as Patch

from dl2cli import pcr
from dl2cli.bench.config import BenchConfig
from dl2cli.bench.diagnosis.recommendations import Advice, recommend
from dl2cli.bench.export import draw_curves
from dl2cli.bench.model.pipeline import EpochShape
from dl2cli.bench.model.rates import Cost, EpochModel
from dl2cli.bench.model.scenario import Scenario, quantity
from dl2cli.bench.model.what_if import make_what_if
from dl2cli.bench.probes.loader_variant import LoaderVariant
from dl2cli.errors import UsageError

SIZES = {1: 1_000.0, 5: 10_000.0, 10: 30_000.0}
NOW = Scenario("now", 1e6)


def model(decode_s: dict[int, float], compute_s: float = 1e-4, **changes: object) -> EpochModel:
    """A long epoch of records of 8 images, at three fidelities."""
    shape = EpochShape(
        batch_size=8,
        visit=np.arange(800) // 8,
        visit_bytes={k: [8 * size] * 100 for k, size in SIZES.items()},
        max_visits=4,
        prefetch=3,
        fetchers=1,
        in_worker=False,
        workers=2,
    )
    costs: dict[int | None, Cost] = {k: Cost(k, SIZES[k], decode_s[k], 0.0) for k in SIZES}
    options = {"images": 800, "cores": 2, "shares_cores": False, **changes}
    return EpochModel(shape=shape, costs=costs, compute_s=compute_s, **options)  # type: ignore[arg-type]


EQUAL = dict.fromkeys(SIZES, 0.001)
FALLING = {1: 0.001, 5: 0.002, 10: 0.004}


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("100MB/s", "B/s", 1e8), ("2500", "img/s", 2500), ("2500 img/s", "img/s", 2500),
     ("10ms", "s", 0.01), ("2GB", "B", 2e9), ("1.5e3", "", 1500), ("8", "", 8)],
)  # fmt: skip
def test_quantities(text: str, unit: str, value: float) -> None:
    assert quantity(text, unit) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "fast", "-1", "0", "nan", "inf", "3 lightyears", "1e99"])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(UsageError):
        quantity(text, "B/s")


def test_a_question_changes_what_it_names() -> None:
    asked = Scenario.parse("storage=50MB/s cores=8, cache=2GB latency=1ms accelerator=900", NOW)
    assert (asked.bandwidth_bytes_s, asked.cores, asked.cache_bytes) == (5e7, 8, 2e9)
    assert (asked.latency_s, asked.accelerator_img_s) == (0.001, 900)
    assert Scenario.parse("cores=4", NOW).bandwidth_bytes_s == NOW.bandwidth_bytes_s
    for wrong in ("speed=3", "cores", "cores=two"):
        with pytest.raises(UsageError):
            Scenario.parse(wrong, NOW)


def test_throughput_follows_the_bytes_where_storage_bounds() -> None:
    m = model(EQUAL)
    slow = Scenario("", 1e6)
    assert m.predict(10, slow) == pytest.approx(1e6 / 30_000, rel=0.03)
    assert m.predict(5, slow) / m.predict(10, slow) == pytest.approx(3.0, rel=0.03)


def test_other_resources() -> None:
    m = model(FALLING)
    fast = Scenario("", math.inf)
    assert m.predict(10, fast) == pytest.approx(250, rel=0.03)
    assert m.predict(10, Scenario("", math.inf, cores=4)) == pytest.approx(500, rel=0.03)
    slow_gpu = Scenario("", math.inf, accelerator_img_s=50)
    assert m.predict(1, slow_gpu) == pytest.approx(50, rel=0.03)
    half = Scenario("", 1e6, cache_bytes=0.5 * 800 * 30_000)
    assert m.predict(10, half) == pytest.approx(2e6 / 30_000, rel=0.03)


def test_a_model_on_the_decoders_cores_adds_up() -> None:
    m = model(FALLING, compute_s=0.004, shares_cores=True)
    assert m.predict(10, Scenario("", math.inf)) == pytest.approx(125, rel=0.03)
    gains = m.gains(10, Scenario("", math.inf))
    assert (gains.storage, gains.prep, gains.compute) == pytest.approx((1, 2, 2), rel=0.03)
    elsewhere = Scenario("", math.inf, accelerator_img_s=1e6)
    assert m.predict(10, elsewhere) == pytest.approx(250, rel=0.03)


@pytest.mark.parametrize(
    ("bandwidth", "compute_s", "bound"),
    [(1e6, 1e-4, "storage"), (1e9, 1e-4, "prep"), (1e9, 0.1, "compute")],
)
def test_bounds(bandwidth: float, compute_s: float, bound: str) -> None:
    assert model(FALLING, compute_s).gains(10, Scenario("", bandwidth)).bound == bound


def test_crossovers_where_only_bytes_differ() -> None:
    what_if = make_what_if(model(EQUAL), NOW, [], [])
    found = {c.scans: c for c in what_if.crossovers}
    # All decode 1000 images/s: full fidelity needs 30 MB/s for them, of which 5 % may be missed.
    assert found[10].fetch_bound_below_bytes_s == pytest.approx(30e6 / 1.05, rel=0.06)
    assert (found[10].pays, found[5].pays) == ("never", "below")
    assert found[5].pays_below_bytes_s == pytest.approx(30e6 / 1.05, rel=0.06)
    assert found[1].fetch_bound_below_bytes_s == pytest.approx(1e6 / 1.05, rel=0.06)


def test_what_decodes_faster_pays_at_any_speed_and_what_computes_slower_never() -> None:
    found = make_what_if(model(FALLING), NOW, [], []).crossovers
    assert [c.pays for c in found] == ["always", "always", "never"]
    assert {c.pays_below_bytes_s for c in found} == {None}
    bound = make_what_if(model(FALLING, compute_s=0.1), NOW, [], []).crossovers
    assert bound[0].pays_below_bytes_s == pytest.approx(30_000 * 10 / 1.05, rel=0.06)


def test_curves_rise_to_a_plateau_and_cover_the_bend() -> None:
    what_if = make_what_if(model(EQUAL), NOW, [Scenario.parse("cores=8", NOW)], [])
    for curve in what_if.curves:
        assert list(curve.rate_img_s) == sorted(curve.rate_img_s)
    full = what_if.curves[-1]
    assert full.rate_img_s[0] < 0.1 * full.rate_img_s[-1]
    assert full.rate_img_s[-1] == pytest.approx(full.rate_img_s[-2], rel=0.06)
    assert what_if.predictions[0].scenario is NOW
    assert what_if.predictions[-1].scenario.name == "cores=8"
    assert what_if.median_error is None


def test_a_plot_of_many_fidelities_under_any_name(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    few = make_what_if(model(EQUAL), NOW, [], [])
    curve = few.curves[0]
    curves = tuple(
        replace(curve, scans=k, rate_img_s=tuple(rate * k for rate in curve.rate_img_s))
        for k in range(1, 17)
    )
    path = tmp_path / "curves.svg"
    draw_curves(replace(few, curves=curves), "a$x_{$: predicted", path)
    lines = re.findall(r"stroke: (#[0-9a-f]{6})", path.read_text())
    drawn = [colour for colour in lines if lines.count(colour) > len(few.curves[0].rate_img_s) - 1]
    assert len(set(drawn)) >= len(curves)


def advice(m: EpochModel, now: Scenario, workers: int = 2) -> Advice:
    config = BenchConfig(Path("/a b"))
    return Advice(
        config, LoaderVariant("pcr", Path("/a b"), 10, workers), m, now, (), (), rate_img_s=100.0
    )


def test_nothing_in_the_data_path_helps_where_compute_bounds(monkeypatch: Patch) -> None:
    monkeypatch.setattr(pcr, "open", lambda path: Opened())
    assert recommend(advice(model(FALLING, compute_s=0.1), Scenario("", 1e9))) == ()


def test_advice_is_ranked_by_gain_and_scaled_to_what_was_measured(monkeypatch: Patch) -> None:
    monkeypatch.setattr(pcr, "open", lambda path: Opened())
    found = recommend(advice(model(EQUAL), NOW))
    assert [r.gain for r in found] == sorted((r.gain for r in found), reverse=True)
    by_command = {r.command: r for r in found}
    five = by_command["dl2 train --data '/a b' --loader pcr --scans 5 --workers 2"]
    assert five.gain == pytest.approx(3.0, rel=0.03)
    assert five.rate_img_s == pytest.approx(100 * five.gain)
    assert "33% of the bytes, MS-SSIM 0.991" in five.change
    storage = by_command[None]
    assert storage.gain == pytest.approx(30, rel=0.06)  # 1000 images/s instead of 33


def test_more_workers_where_there_are_cores(monkeypatch: Patch) -> None:
    monkeypatch.setattr(pcr, "open", lambda path: Opened())
    monkeypatch.setattr("dl2cli.bench.diagnosis.recommendations.usable_cores", lambda: 8)
    found = recommend(advice(model(FALLING, cores=2), Scenario("", 1e9)))
    (workers,) = (r for r in found if "8 workers" in r.change)
    assert workers.gain == pytest.approx(4.0, rel=0.06)
    assert workers.command == "dl2 train --data '/a b' --loader pcr --scans 10 --workers 8"


def test_commands_load_as_it_was_measured(monkeypatch: Patch) -> None:
    monkeypatch.setattr(pcr, "open", lambda path: Opened())
    config = BenchConfig(Path("/a b"), codec="libjpeg", exif_orientation="apply")
    found = recommend(replace(advice(model(EQUAL), NOW), config=config))
    commands = [r.command for r in found if r.command is not None and "dl2 train" in r.command]
    assert commands
    assert all(each.endswith(" --codec libjpeg --exif-orientation apply") for each in commands)


def test_smaller_records_where_an_epoch_is_a_few(monkeypatch: Patch) -> None:
    monkeypatch.setattr(pcr, "open", lambda path: Opened())
    m = model(EQUAL)
    one = replace(
        m.shape, visit=np.zeros(800, np.int64), visit_bytes={k: [800 * SIZES[k]] for k in SIZES}
    )
    m = replace(m, shape=one)
    found = recommend(advice(m, Scenario("", 30e6)))  # fetching takes as long as decoding
    (smaller,) = (r for r in found if "records of 128" in r.change)
    # Fetching all, then decoding all takes 2; of seven records only the first is not overlapped.
    assert smaller.gain == pytest.approx(2 / (1 + 1 / 7), rel=0.03)
    assert smaller.command == "dl2 convert SOURCE OUT --images-per-record 128"


class Opened:
    """A dataset whose conversion has measured one fidelity."""

    properties: ClassVar = {"fidelity": [{"scans": 5, "ms_ssim": 0.991}]}
