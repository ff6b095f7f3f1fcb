"""Throttles: how they are written, what they count, and what the loaders do with them.

No clock is asked how fast anything was: time is made up, or the rate so low that a read would
never end.
"""

import multiprocessing
import signal
from dataclasses import replace
from importlib.util import find_spec

import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from loader_children import ask, still  # noqa: E402

from dl2cli import pcr  # noqa: E402
from dl2cli.errors import UsageError  # noqa: E402
from dl2cli.loaders import LoaderConfig, create_loader  # noqa: E402
from dl2cli.loaders.native.pcr import PcrLoader  # noqa: E402
from dl2cli.loaders.pytorch.loader import PytorchLoader  # noqa: E402
from dl2cli.loaders.throttle import SharedThrottle, Throttle  # noqa: E402
from dl2cli_native import _core  # noqa: E402

needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="NVIDIA DALI is not installed",
)
FAST = Throttle(1e15, 1e-9)
NEVER = Throttle(1.0, 60.0)  # the smallest file of the tests would take minutes


@pytest.mark.parametrize(
    ("text", "rate", "latency_s"),
    [
        ("100MB/s", 1e8, 0),
        ("100MB/s,latency=10ms", 1e8, 0.01),
        ("latency=250us", None, 0.00025),
        (" 1.5 GiB/s , latency = 1s ", 1.5 * 2**30, 1),
        ("12kB", 12e3, 0),
        ("5B/s", 5, 0),
        ("latency=2ms,1KiB/s", 1024, 0.002),
    ],
)
def test_texts(text, rate, latency_s):
    throttle = Throttle.parse(text)
    assert throttle.bytes_per_s == rate
    assert throttle.latency_s == pytest.approx(latency_s)
    assert Throttle.parse(str(throttle)) == throttle


@given(st.floats(1, 1e12), st.one_of(st.just(0.0), st.floats(1e-6, 60)))
def test_a_throttle_reads_what_it_writes(rate, latency_s):
    for throttle in (Throttle(rate, latency_s), Throttle(None, latency_s or 1.0)):
        again = Throttle.parse(str(throttle))
        if throttle.bytes_per_s is None:
            assert again.bytes_per_s is None
        else:
            assert again.bytes_per_s == pytest.approx(throttle.bytes_per_s, rel=1e-8)
        assert again.latency_s == pytest.approx(throttle.latency_s, rel=1e-8)


def test_what_is_said():
    assert str(Throttle(1e8, 0.01)) == "100MB/s,latency=10ms"
    assert str(Throttle(None, 2)) == "latency=2s"
    assert str(Throttle(2.5e9)) == "2.5GB/s"


@pytest.mark.parametrize(
    "text",
    ["", "fast", "100", "100Mb/s", "-1MB/s", "1e3MB/s", "1MB/s,2MB/s", "1MB/s,", "latency=1",
     "1MB/m", "1MB/s,latency=1ms,latency=1ms", "1MB/s latency=1ms"],
)  # fmt: skip
def test_texts_that_are_none(text):
    with pytest.raises(UsageError, match="is not a throttle: write a bandwidth"):
        Throttle.parse(text)


@pytest.mark.parametrize(
    ("rate", "latency_s", "words"),
    [
        (0.5, 0, "at least 1 byte"),
        (float("inf"), 0, "at least 1 byte"),
        (float("nan"), 0, "at least 1 byte"),
        (1e6, -1, "0 to 60 s"),
        (1e6, 61, "0 to 60 s"),
        (1e6, float("nan"), "0 to 60 s"),
        (None, 0, "a bandwidth, a latency, or both"),
    ],
)
def test_numbers_that_make_no_sense(rate, latency_s, words):
    with pytest.raises(UsageError, match=words):
        Throttle(rate, latency_s)


class FakeTime:
    """Time that passes in sleep alone, a little longer each time than asked for."""

    def __init__(self, late=0.0):
        self.seconds, self.late, self.longest = 1000.0, late, 0.0

    def now(self):
        return self.seconds

    def sleep(self, seconds):
        assert seconds > 0
        self.longest = max(self.longest, seconds)
        self.seconds += seconds + self.late


def shared(throttle, clock):
    return SharedThrottle(throttle, multiprocessing.get_context(), clock.now, clock.sleep)


@pytest.mark.parametrize(("size", "count"), [(10_000, 1000), (10_000_000, 1)])
def test_bytes_take_their_time(size, count):
    clock = FakeTime(late=0.0005)
    throttle = shared(Throttle(1e8), clock)
    for number in range(count):
        content = bytes([number % 256]) * size
        assert throttle.read(lambda content=content: content) is content
    assert clock.seconds - 1000 == pytest.approx(size * count / 1e8, abs=0.002)
    assert clock.longest < 0.003


def test_each_read_waits_for_the_latency():
    clock = FakeTime()
    throttle = shared(Throttle(None, 0.25), clock)
    for _ in range(8):
        throttle.read(lambda: b"some bytes")
    assert clock.seconds == pytest.approx(1002)
    throttle.release()
    throttle.read(lambda: b"more")
    assert clock.seconds == pytest.approx(1002)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_share_the_bandwidth(method):
    context = multiprocessing.get_context(method)
    throttle = SharedThrottle(Throttle(1e6), context, still)
    queue = context.Queue()
    children = [context.Process(target=ask, args=(throttle, queue)) for _ in range(2)]
    for child in children:
        child.start()
    arrivals = sorted(queue.get(timeout=60) for _ in range(100))
    for child in children:
        child.join(60)
    # One after the other, whoever asked.
    assert arrivals == pytest.approx([1000 + 0.001 * (i + 1) for i in range(100)])


def same(left, right):
    return len(left) == len(right) and all(
        torch.equal(a.images, b.images) and a.bytes_read == b.bytes_read
        for a, b in zip(left, right, strict=True)
    )


def test_pcr_asks_the_throttle_for_each_byte_it_reads(config, dataset):
    opened = pcr.open(dataset)
    for scans in (2, 10):
        config = replace(config, tail="pad", scans=scans, fetch_threads=2)
        loader = PcrLoader(replace(config, throttle=FAST))
        native = _core.Throttle(1e15, 0)
        store = _core.RecordStore(
            place=str(dataset).encode(),
            names=[record.file for record in opened.records],
            lengths=[list(record.lengths) for record in opened.records],
            crc32c=[record.crc32c for record in opened.records],
            label_count=len(opened.classes),
            keep_buffers=4,
            throttle=native,
        )
        loader._setup = replace(loader._setup, store=store)
        assert same(list(loader), list(PcrLoader(config)))
        assert native.bytes == loader.stats().bytes_read == opened.prefix_bytes(scans)
        assert native.ranges == len(opened.records)


def test_pytorch_loads_the_same(config, folder):
    config = replace(config, data=folder, tail="pad")
    assert same(list(PytorchLoader(replace(config, throttle=FAST))), list(PytorchLoader(config)))


def test_files_in_the_cache_are_not_throttled(config, folder):
    cached = replace(
        config, data=folder, dataset_class="MinIOFolder", cache_bytes=1 << 20, throttle=FAST
    )
    loader = PytorchLoader(cached)
    first = list(loader)
    # A throttle that lets nothing through any more, and an epoch that does not notice.
    loader.config = replace(cached, throttle=NEVER)
    again = list(loader)
    assert torch.equal(torch.cat([b.images for b in again]), torch.cat([b.images for b in first]))
    assert loader.stats().cache_hits == 4 * len(loader)


@pytest.mark.parametrize("name", ["pcr", "pytorch", pytest.param("pcr-dali", marks=needs_dali)])
def test_an_interrupted_loader_does_not_wait_for_its_throttle(name, config, folder):
    def interrupt(*_):
        raise KeyboardInterrupt

    data = config.data if name.startswith("pcr") else folder
    loader = create_loader(name, replace(config, data=data, throttle=NEVER, prefetch=8))
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):  # or the test takes hours
            next(iter(loader))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not multiprocessing.active_children()


@needs_dali
def test_pcr_dali_reads_through_the_throttle(dataset, config):
    config = replace(config, tail="pad", shuffle_window=1)
    loader = create_loader("pcr-dali", replace(config, throttle=FAST, on_damage="fail"))
    native = loader._throttle = _core.Throttle(1e15, 0)
    batches = list(loader)
    assert same(batches, list(create_loader("pcr-dali", config)))
    assert native.bytes == sum(batch.bytes_read for batch in batches)
    assert native.bytes == pcr.open(dataset).prefix_bytes(10)


@needs_dali
def test_dali_file_readers_refuse_it(folder):
    for name in ("dali-cpu", "dali-gpu"):
        with pytest.raises(UsageError, match=f"{name} leaves .* choose pcr, pcr-dali"):
            create_loader(name, LoaderConfig(folder, throttle=FAST))
