"""Loaders of others, and our own, in a watched loop."""

from __future__ import annotations

import tarfile
import time
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

import dl2cli  # noqa: E402
from dl2cli.environment import UNKNOWN  # noqa: E402
from dl2cli.loaders import LoaderConfig, TransformConfig, create_loader  # noqa: E402
from dl2cli.loaders.registry import has_dali  # noqa: E402
from dl2cli.watching import stages  # noqa: E402
from dl2cli.watching.verdict import verdict  # noqa: E402

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend


def epoch_of(loader: object, tmp_path: Path):
    with dl2cli.watch(loader, log=tmp_path / "run") as watched:
        for _ in watched:
            pass
        (epoch,) = watched.watched.epochs
    assert epoch.whole
    return epoch


def sleepy(sample: object) -> object:
    time.sleep(0.01)
    return sample


@pytest.mark.parametrize("name", ["jpeg", "pytorch"])
def test_our_own_loaders(name: str, sample_set: Path, tmp_path: Path) -> None:
    config = LoaderConfig(
        sample_set / "train", batch_size=4, transform=TransformConfig(size=32), workers=1
    )
    epoch = epoch_of(create_loader(name, config), tmp_path)
    assert (epoch.steps, epoch.images) == (6, 24)
    assert epoch.basis == "by the loader's own account"


def test_dalis_iterator(sample_set: Path, tmp_path: Path) -> None:
    if not has_dali():
        pytest.skip("NVIDIA DALI is not installed")
    from nvidia.dali import fn, pipeline_def
    from nvidia.dali.plugin.pytorch import DALIGenericIterator, LastBatchPolicy

    @pipeline_def(batch_size=4, num_threads=1, device_id=None)
    def photos():
        files, labels = fn.readers.file(file_root=str(sample_set / "train"), name="reader")
        images = fn.resize(fn.decoders.image(files), size=(32, 32))
        return images, labels

    iterator = DALIGenericIterator(
        photos(), ["data", "label"], reader_name="reader", last_batch_policy=LastBatchPolicy.PARTIAL
    )
    epoch = epoch_of(iterator, tmp_path)
    assert (epoch.steps, epoch.images) == (6, 24)
    # On a machine that others use up, nothing can be said.
    assert epoch.basis.startswith(("by CPU use", UNKNOWN)) or "samples" in epoch.basis


def test_a_loader_that_accelerate_prepared(tmp_path: Path) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)

    class Slow(TensorDataset):
        def __getitem__(self, index: int):
            return sleepy(super().__getitem__(index))

    plain = DataLoader(Slow(torch.arange(160)), 8, num_workers=2)
    prepared = accelerator.prepare(plain)
    watched = dl2cli.watch(prepared, log=tmp_path / "run")
    assert len(watched) == 20
    assert len(list(watched)) == 20
    (epoch,) = watched.watched.epochs
    assert "test_other_loaders.py" in epoch.busiest[stages.STORAGE], verdict(epoch)


def test_webdataset(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for number in range(64):
            file = tmp_path / f"{number:03d}.cls"
            file.write_text(str(number % 3))
            tar.add(file, file.name)
    dataset = webdataset.WebDataset(str(tmp_path / "photos.tar"), shardshuffle=False)
    dataset = dataset.decode().to_tuple("cls").map(sleepy).batched(8)
    loader = webdataset.WebLoader(dataset, batch_size=None, num_workers=1)
    epoch = epoch_of(loader, tmp_path)
    assert (epoch.steps, epoch.images) == (8, 64)
    assert "samples" in epoch.basis, verdict(epoch)


def test_spdl(tmp_path: Path) -> None:
    pipeline = pytest.importorskip("spdl.pipeline")

    def load(number: int) -> torch.Tensor:
        time.sleep(0.01)
        return torch.zeros(3, 4, 4)

    builder = pipeline.PipelineBuilder().add_source(range(80)).pipe(load, concurrency=2)
    built = builder.aggregate(8).pipe(torch.stack).add_sink(3).build(num_threads=2)
    with built.auto_stop():
        epoch = epoch_of(built, tmp_path)
    assert (epoch.steps, epoch.images) == (10, 80)
    assert max(epoch.stages, key=epoch.stages.__getitem__) == stages.STORAGE, verdict(epoch)
    # Where threads of other tests compute meanwhile, only the CPU use tells.
    place = epoch.busiest.get(stages.STORAGE, "" if epoch.busiest else "test_other_loaders.py")
    assert "test_other_loaders.py" in place, verdict(epoch)
