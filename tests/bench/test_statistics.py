import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.bench.statistics import NOISY, Spread, percentiles

rates = st.lists(st.floats(0, 1e12), min_size=1, max_size=30)


@given(rates)
def test_a_spread_holds_its_runs(runs):
    spread = Spread.of(runs)
    assert spread.runs == tuple(runs)
    assert (spread.low, spread.high) == (min(runs), max(runs))
    assert spread.median == pytest.approx(statistics.median(runs))
    assert spread.low <= spread.median <= spread.high
    assert 0 <= spread.relative < math.inf or spread.high > 1e300 * spread.median


@given(rates, st.floats(1e-3, 1e3))
def test_noise_does_not_depend_on_the_unit(runs, unit):
    runs = [1 + run for run in runs]
    scaled = Spread.of(run * unit for run in runs)
    assert scaled.relative == pytest.approx(Spread.of(runs).relative, rel=1e-6, abs=1e-9)


def test_noisy_begins_above_the_threshold():
    assert not Spread.of([100.0, 100.0, 100.0]).noisy
    assert not Spread.of([100.0, 102.0, 109.0]).noisy
    assert Spread.of([100.0, 102.0, 102.0 * (1 + 2 * NOISY)]).noisy
    assert Spread.of([0.0]).relative == 0
    assert Spread.of([0.0, 0.0, 1.0]).noisy


@pytest.mark.parametrize("runs", [[], [math.nan], [math.inf], [1.0, -1.0]])
def test_what_is_no_measurement_is_refused(runs):
    with pytest.raises(ValueError, match="no measurements"):
        Spread.of(runs)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.floats(1, 100))
def test_percentiles_are_nearest_ranks(values, percent):
    rank = math.ceil(percent / 100 * len(values) - 1e-9)
    assert percentiles(values, (percent,)) == (sorted(values)[max(rank, 1) - 1],)


def test_the_default_percentiles():
    assert percentiles([float(i) for i in range(1, 1001)]) == (500, 950, 990, 1000)
    assert percentiles([7.0]) == (7, 7, 7, 7)
    with pytest.raises(ValueError, match="no values"):
        percentiles([])
