#!/usr/bin/env python3
"""What a dataset of a hundred million images costs: index, order, memory, requests, hours, money.

    scripts/simulate_scale.py [--images 100000000] [--ranks 1024] [--machines 16] ...

No image is made. The index is written for real, with as many records as there would be, and
opened; the order of one rank is computed for real. Hours and money follow from rates and prices,
which are options: set yours. Images have the size of ImageNet's, 110 kB, of which the first k scan
groups of the default script take the shares below.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import tracemalloc
from pathlib import Path

from dl2cli import pcr
from dl2cli.loaders.order.sample_order import SampleOrder
from dl2cli.pcr import index
from dl2cli.pcr.database import open_database
from dl2cli.stores.fetch import parts_of
from dl2cli.stores.options import StoreOptions

SHARES = {1: 0.071, 2: 0.159, 5: 0.464, 10: 1.0}  # of a record, by k, on 100 generated photos
SOURCES_SAMPLE = 100_000  # rows of provenance that are written, to know a row's bytes


def measure_index(options: argparse.Namespace) -> None:
    """Write an index of as many records, and open it."""
    size = options.images_per_record
    records = -(-options.images // size)
    lengths = [size * 40, *(int(size * options.image_bytes / 10) for _ in range(10))]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        properties = {"format_version": index.FORMAT_VERSION, "images_per_record": size}
        index.create_working(out / index.INDEX, properties, tuple(map(str, range(1000))))
        with (
            open_database(out / index.INDEX, write=True) as database,
            database.connection as connection,
        ):
            packed = index.pack_lengths(lengths)
            connection.executemany(
                "INSERT INTO records VALUES (?, ?, ?, ?, ?)",
                ((i, f"PCR_{i}.db", size, packed, i) for i in range(records)),
            )
            row = ("n01440764/n01440764_10026.JPEG", 0, 110_000, 1, "baseline JPEG", "")
            connection.executemany(
                "INSERT INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((i // size, i % size, *row) for i in range(SOURCES_SAMPLE)),
            )
        index.finalize(out, {}, size)
        index_bytes = (out / index.INDEX).stat().st_size
        sources_bytes = (out / index.SOURCES).stat().st_size / SOURCES_SAMPLE * options.images
        tracemalloc.start()
        began = time.process_time()
        dataset = pcr.open(out)
        seconds = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert len(dataset.records) == records
    print(f"records of {size:,} images     {records:,}")
    print(f"PCR.db                       {index_bytes / 1e6:,.0f} MB, fetched once")
    print(f"PCR_sources.db               {sources_bytes / 1e9:,.1f} GB, which no reader needs")
    print(f"opening the index            {seconds:.1f} s CPU, at most {peak / 1e6:,.0f} MB")


def measure_order(options: argparse.Namespace) -> None:
    """Compute the order of one rank."""
    size = options.images_per_record
    counts = [size] * -(-options.images // size)
    began = time.process_time()
    order = SampleOrder(counts, batch_size=options.batch, rank=1, world_size=options.ranks)
    order.epoch(1)
    seconds = time.process_time() - began
    tracemalloc.start()
    one = order.epoch(2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"a rank of {options.ranks:,}              {len(one):,} images an epoch")
    print(f"its order, once an epoch     {seconds:.2f} s CPU, at most {peak / 1e6:,.0f} MB")


def predict(options: argparse.Namespace) -> None:
    """Say what follows from rates and prices."""
    size = options.images_per_record
    records = -(-options.images // size)
    rate = options.machines * options.cores * options.convert_rate
    total = options.images * options.image_bytes
    print(f"the records                  {total / 1e12:,.1f} TB")
    print(
        f"converting on {options.machines} machines     {options.images / rate / 3600:,.1f} hours "
        f"of {options.cores} cores at {options.convert_rate:g} images/s each"
    )
    print(f"storing it                   ${total / 1e9 * options.price_month:,.0f} a month")
    part_bytes = StoreOptions().part_bytes
    for scans, share in SHARES.items():
        prefix = int(size * options.image_bytes * share)
        requests = records * len(parts_of(0, prefix, part_bytes))
        money = requests / 1000 * options.price_requests + total * share / 1e9 * options.price_gb
        print(
            f"an epoch at k = {scans:<2}           {total * share / 1e12:5.1f} TB, "
            f"{requests:,} requests, ${money:,.0f}"
        )


def main() -> None:
    """Measure, predict, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000_000)
    parser.add_argument("--image-bytes", type=int, default=110_000)
    parser.add_argument("--images-per-record", type=int, default=1024)
    parser.add_argument("--ranks", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32, help="images a rank and step")
    parser.add_argument("--machines", type=int, default=16)
    parser.add_argument("--cores", type=int, default=16, help="of a machine")
    parser.add_argument("--convert-rate", type=float, default=300.0, help="images/s of a core")
    parser.add_argument("--price-requests", type=float, default=0.0004, help="of 1,000 GETs")
    parser.add_argument("--price-gb", type=float, default=0.0, help="of 10^9 bytes that leave")
    parser.add_argument("--price-month", type=float, default=0.023, help="of storing 10^9 bytes")
    options = parser.parse_args()
    measure_index(options)
    measure_order(options)
    predict(options)


if __name__ == "__main__":
    main()
