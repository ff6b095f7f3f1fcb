"""bench-io of a dataset in a store: what it counts is what the server saw."""

from __future__ import annotations

from pathlib import Path

import pytest
from store_servers import WebServer

from dl2cli import pcr
from dl2cli.errors import UsageError
from dl2cli.stores.path import dataset_path

pytest.importorskip("torch")

from dl2cli.bench.config import BenchConfig, ComputeConfig
from dl2cli.bench.run import bench
from dl2cli.bench.storage.requests import Prices, measure_store


def test_requests_bytes_and_price_are_what_an_epoch_takes(web: WebServer, dataset: Path) -> None:
    local = pcr.open(dataset)
    url = dataset_path(f"{web.url}/pcr")
    before = len(web.requests())
    readings = measure_store(url, (1, 5, 10), seconds=60, prices=Prices(0.4, 90.0))
    made = [row for row in web.requests()[before:] if row[1] != "/pcr/PCR.db"]
    assert [each.scans for each in readings] == [1, 5, 10]
    assert sum(each.requests for each in readings) == len(made) == 3 * len(local.records)
    assert sum(each.bytes_received for each in readings) == sum(size for *_, size in made)
    for each in readings:
        assert each.reads == len(local.records)
        assert each.bytes_per_image == local.prefix_bytes(each.scans) / 33
        assert each.price == pytest.approx(
            each.requests * 0.4e-3 + local.prefix_bytes(each.scans) * 90e-9
        )
        assert each.rate_bytes_s > 0
        assert each.latency_p50_s is not None
        assert each.latency_p99_s is not None
        assert each.latency_p50_s <= each.latency_p99_s


def test_prices_and_places_are_checked(dataset: Path) -> None:
    with pytest.raises(UsageError, match="0 or more"):
        Prices(-1, 0)
    with pytest.raises(UsageError, match="in no store"):
        measure_store(dataset, (1,), seconds=1)


def test_the_whole_measurement(web: WebServer) -> None:
    before = len(web.requests())
    config = BenchConfig(
        dataset_path(f"{web.url}/pcr"),
        batch_size=4,
        image_size=32,
        repeat=2,
        run_s=0.5,
        sample_images=0,
        checks=1,
        scans=(10,),
        workers=(1,),
        compute=ComputeConfig(rate_img_s=5000.0),
        price_gb=1.0,
    )
    result = bench(config)
    assert result.storage is None
    (reading,) = result.store
    assert reading.price is not None
    served = {(run.condition, run.served) for run in result.runs if run.loader == "pcr"}
    assert served == {("warm", "memory"), ("cold", "storage")}
    epochs = [path for _, path, *_ in web.requests()[before:]].count("/pcr/PCR_0.db")
    assert epochs >= 4  # the store alone, a warm-up each, and two cold runs
    assert any("--cache-dir" in note for note in result.notes)
