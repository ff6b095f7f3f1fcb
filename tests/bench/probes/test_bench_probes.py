"""Real runs of loaders and steps; nothing here depends on how fast the machine is."""

from pathlib import Path

import pytest
from bench_photos import make_dataset, make_folder
from PIL import Image

from dl2cli import pcr
from dl2cli.bench.compare import compare
from dl2cli.bench.config import BenchConfig, ComputeConfig
from dl2cli.bench.model.calibrate import epoch_shape
from dl2cli.bench.probes.alternatives import measure_alternatives
from dl2cli.bench.probes.compute import ComputeProbe, EmulatedStep, ModelStep, make_step
from dl2cli.bench.probes.loader import LoaderProbe
from dl2cli.bench.probes.loader_variant import (
    LoaderVariant,
    bytes_per_image,
    data_files,
    dataset_name,
)
from dl2cli.bench.probes.plan import parse_loader_variant, plan_measurement
from dl2cli.dataset.location import DatasetKind, locate
from dl2cli.errors import DataError, UsageError
from dl2cli.loaders.registry import default_loader


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("bench") / "photos", 40, 96, 64)


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_dataset(folder, tmp_path_factory.mktemp("bench") / "pcr", 8)


def config(data: Path, **options: object) -> BenchConfig:
    given = {"batch_size": 8, "image_size": 32, "run_s": 30.0, "repeat": 1, **options}
    return BenchConfig(data, **given)  # type: ignore[arg-type]


def probe(
    data: Path, scans: int | None, throttle: str | None = None, **options: object
) -> LoaderProbe:
    loader = "pytorch" if scans is None else "pcr"
    variant = LoaderVariant(loader, data, scans, 2, throttle)
    return LoaderProbe(config(data, **options), variant, data_files(data))


@pytest.mark.parametrize("scans", [1, 10])
def test_bytes_and_images_are_exact(dataset: Path, scans: int) -> None:
    measured = probe(dataset, scans)
    measured.warm_up()
    measured.measure("warm")
    result = measured.result("warm")
    opened = pcr.open(dataset)
    assert result.images == opened.image_count == 40
    assert result.whole_epoch
    assert result.bytes_per_image == opened.prefix_bytes(scans) / 40
    assert result.rate_img_s.median > 0
    assert result.fetch_s is not None and result.decode_s is not None
    assert result.fetch_s > 0 and result.decode_s > 0
    assert list(result.wait_s) == sorted(result.wait_s)


def test_cold_runs_say_where_the_bytes_came_from(dataset: Path) -> None:
    measured = probe(dataset, 10)
    measured.warm_up()
    measured.measure("cold")
    measured.measure("warm")
    assert measured.result("cold").served in ("storage", "page cache", "memory", "unknown")
    assert measured.result("warm").served in ("page cache", "memory", "unknown")
    assert measured.result("cold").images == measured.result("warm").images


@pytest.mark.parametrize("records", [False, True])
def test_images_are_turned_on_request(tmp_path: Path, *, records: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    data = make_folder(tmp_path / "photos", 2, 64, 64)
    for file in data_files(data):
        Image.open(file).save(file, quality=95, exif=exif)
    data = make_dataset(data, tmp_path / "pcr", 2) if records else data
    variant = LoaderVariant("pcr" if records else "jpeg", data, 10 if records else None, 1)
    stored, shown = (
        next(
            iter(
                variant.create(
                    config(data, exif_orientation=asked, batch_size=2, image_size=64),
                    normalized=False,
                )
            )
        ).images
        for asked in ("ignore", "apply")
    )
    assert not (stored == shown).all()


def test_loaders_that_cannot_turn_images_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dl2cli.bench.probes.plan.has_dali", lambda: True)
    turned = plan_measurement(config(folder, exif_orientation="apply", workers=(1,)))
    assert [each.loader for each in turned.variants] == ["jpeg", "pytorch"]


@pytest.mark.parametrize("scans", [None, 10])
def test_a_throttle_really_limits(folder: Path, dataset: Path, scans: int | None) -> None:
    data = folder if scans is None else dataset
    measured = probe(data, scans, throttle="200kB/s")
    measured.warm_up()
    times = measured.measure("throttled")
    # The first 20 ms of bandwidth may be given in advance.
    assert times.bytes_read / times.wall_s <= 200e3 * 1.1
    assert measured.result("throttled").condition == "throttled"


def test_a_run_ends_after_its_batches(dataset: Path) -> None:
    measured = probe(dataset, 10, run_s=0.05, batch_size=1)
    assert 2 <= measured.warm_up().batches <= 40


def test_an_emulated_accelerator_is_never_faster_than_it_should_be(dataset: Path) -> None:
    compute = ComputeProbe(config(dataset), EmulatedStep(400.0))
    compute.warm_up()
    compute.measure()
    result = compute.result()
    assert result.emulated and result.arch is None and not result.shares_cores
    assert result.rate_img_s.high <= 400 * 1.01
    assert result.images == 40


def test_a_model_is_trained_for_real(dataset: Path) -> None:
    options = config(dataset, compute=ComputeConfig(device="cpu"), run_s=0.2, image_size=64)
    step = make_step(options, 2)
    assert isinstance(step, ModelStep)
    model = step._step.model
    before = [parameter.detach().clone() for parameter in model.parameters()]
    compute = ComputeProbe(options, step)
    compute.measure()
    result = compute.result()
    assert (result.arch, result.device, result.shares_cores) == ("small_cnn", "cpu", True)
    assert result.rate_img_s.median > 0
    changed = [bool((a != b).any()) for a, b in zip(before, model.parameters(), strict=True)]
    assert any(changed)


def test_devices_and_rates_that_cannot_be(dataset: Path) -> None:
    with pytest.raises(UsageError):
        ModelStep(config(dataset, compute=ComputeConfig(device="abacus")), 2)
    with pytest.raises(UsageError):
        ComputeConfig(rate_img_s=0.0)
    with pytest.raises(UsageError):
        BenchConfig(dataset, repeat=0)


def test_the_plan(dataset: Path, folder: Path) -> None:
    plan = plan_measurement(config(dataset, workers=(1, 2)))
    assert [r.scans for r in plan.trained] == [1, 2, 5, 10]
    assert plan.target == plan.trained[-1]
    assert [(r.scans, r.workers) for r in plan.variants][-1] == (10, 1)
    assert plan_measurement(config(folder, loaders=("pytorch",))).target.scans is None
    for wrong in ({"scans": (11,)}, {"loaders": ("pytorch",)}, {"loaders": ("nonsense",)}):
        with pytest.raises(UsageError):
            plan_measurement(config(dataset, **wrong))


def test_splits_and_names(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "train").symlink_to(folder)
    (tmp_path / "photos" / "val").symlink_to(folder)
    train = locate(tmp_path / "photos").train.path
    assert train == tmp_path / "photos" / "train"
    assert dataset_name(train) == "photos"
    assert dataset_name(folder) == folder.name


def test_the_shape_is_the_loaders_own_order(dataset: Path, folder: Path) -> None:
    variant = LoaderVariant("pcr", dataset, 10, 2)
    loader = variant.create(config(dataset), normalized=False)
    shape = epoch_shape(loader, config(dataset), variant)
    opened = pcr.open(dataset)
    assert len(shape.visit) == 40
    assert sum(shape.visit_bytes[3]) == opened.prefix_bytes(3)
    assert shape.max_visits == 4
    assert bytes_per_image(variant)[10] == opened.prefix_bytes(10) / 40
    plain = LoaderVariant("pytorch", folder, None, 2)
    sizes = [file.stat().st_size for file in data_files(folder)]
    assert bytes_per_image(plain)[None] == pytest.approx(sum(sizes) / 40)


def test_a_batch_larger_than_the_dataset_is_refused(dataset: Path) -> None:
    with pytest.raises((DataError, UsageError)):
        probe(dataset, 10, batch_size=64).warm_up()


def test_other_forms_of_the_same_images(dataset: Path, folder: Path) -> None:
    options = config(dataset, sample_images=12, run_s=0.5)
    (spectral,) = measure_alternatives(options, LoaderVariant("pcr", dataset, 10, 1))
    assert (spectral.script, spectral.scans, spectral.groups) == ("spectral", 6, 6)
    assert spectral.images == 12
    assert 0.7 < spectral.relative_bytes < 1.3
    options = config(folder, sample_images=12, run_s=0.5)
    found = measure_alternatives(options, LoaderVariant("pytorch", folder, None, 1))
    assert [(a.script, a.scans) for a in found] == [
        ("default", 1), ("default", 2), ("default", 5), ("default", 10), ("spectral", 6),
    ]  # fmt: skip
    sizes = [a.relative_bytes for a in found[:4]]
    assert sizes == sorted(sizes)


def test_a_fidelity_is_held_against_the_script_rate(dataset: Path) -> None:
    """What is read now has its equal in `rate`, which is converted and loaded beside it."""
    options = config(dataset, sample_images=12, run_s=0.5)
    found = measure_alternatives(options, LoaderVariant("pcr", dataset, 5, 1))
    (equal,) = (a for a in found if a.script == "rate")
    assert equal.same_as == 5
    assert 1 <= equal.scans < equal.groups
    assert next(a for a in found if a.script == "spectral").same_as is None


def test_comparing_in_turn(dataset: Path, folder: Path) -> None:
    rounds: list[tuple[int, int]] = []
    found = compare(
        config(dataset, repeat=2, workers=(1,)),
        ("pcr:1", str(folder)),
        with_step=False,
        on_round=lambda done, total: rounds.append((done, total)),
    )
    assert rounds == [(1, 2), (2, 2)]
    a, b = found.a.rate_img_s.runs, found.b.rate_img_s.runs
    assert found.ratio.runs == tuple(x / y for x, y in zip(a, b, strict=True))
    assert (found.a.variant.scans, found.b.variant.loader) == (
        1,
        default_loader(DatasetKind.IMAGE_FOLDER),
    )
    assert found.complete


def test_what_can_be_compared(dataset: Path, folder: Path) -> None:
    here = config(dataset)
    assert parse_loader_variant(here, "pcr").scans == 10
    assert parse_loader_variant(here, f"{dataset}:3").scans == 3
    for wrong in ("nothing", "pytorch", "pcr:x", f"{folder}:3"):
        with pytest.raises(UsageError):
            parse_loader_variant(here, wrong)
