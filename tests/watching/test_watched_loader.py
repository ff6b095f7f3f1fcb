"""What a watched loader keeps of the loader, and what it survives."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pytest

import dl2cli
from dl2cli.errors import StorageError, UsageError
from dl2cli.watching.counting import count_images
from dl2cli.watching.verdict import sentences

torch = pytest.importorskip("torch")
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402


def loader(images: int = 40, batch_size: int = 8, **options: object) -> DataLoader:
    return DataLoader(TensorDataset(torch.arange(images)), batch_size, **options)


def records(folder: Path) -> list[dict]:
    lines = (folder / "experiment_report.json").read_text().splitlines()
    return [json.loads(line.removeprefix("DLLL ")) for line in lines]


def steps(folder: Path, kind: str) -> list[list]:
    return [each["step"] for each in records(folder) if each.get("step", [""])[0] == kind]


def test_batches_length_and_attributes_are_the_loaders(tmp_path: Path) -> None:
    plain = loader()
    watched = dl2cli.watch(plain, log=tmp_path / "run")
    assert len(watched) == len(plain)
    assert watched.sampler is plain.sampler
    assert watched.dataset is plain.dataset
    assert watched.batch_size == 8
    assert not hasattr(watched, "set_epoch")
    watched.worker_init_fn = print
    assert plain.worker_init_fn is print
    assert [batch.tolist() for (batch,) in watched] == [batch.tolist() for (batch,) in plain]


def test_epochs_follow_set_epoch(tmp_path: Path) -> None:
    class Loader:
        epoch = None

        def set_epoch(self, epoch: int) -> None:
            self.epoch = epoch

        def __iter__(self):
            return iter([torch.zeros(2, 3)] * 3)

    inner = Loader()
    with dl2cli.watch(inner, log=tmp_path / "run") as watched:
        for epoch in (5, 6):
            watched.set_epoch(epoch)
            assert inner.epoch == epoch
            assert len(list(watched)) == 3
        with pytest.raises(TypeError):
            len(watched)
        assert bool(watched)
    assert steps(tmp_path / "run", "E")[::3] == [["E", 5], ["E", 6]]
    assert [each.images for each in watched.watched.epochs] == [6, 6]


def test_a_loop_left_early_counts_the_steps_that_ended(tmp_path: Path) -> None:
    with dl2cli.watch(loader(), log=tmp_path / "run") as watched:
        for number, _ in enumerate(watched):
            if number == 2:
                break
        assert len(watched.watched.epochs) == 1  # at once, not when the program ends
        assert len(list(watched)) == 5
    first, second = watched.watched.epochs
    assert (first.steps, first.whole, second.steps, second.whole) == (2, False, 5, True)


def test_an_iterator_that_nobody_uses_is_no_epoch(tmp_path: Path) -> None:
    with dl2cli.watch(loader(), log=tmp_path / "run") as watched:
        iter(watched)
        batches = iter(watched)
        for _ in range(5):  # a loop that knows the length, and does not ask for a batch more
            next(batches)
    (epoch,) = watched.watched.epochs
    assert (epoch.epoch, epoch.steps, epoch.whole) == (0, 4, True)


def test_an_error_in_the_loop_goes_through(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        dl2cli.watch(loader(), log=tmp_path / "run") as watched,
    ):
        for number, _ in enumerate(watched):
            assert 1 / (2 - number)
    assert watched.watched.epochs[0].steps == 2


def test_an_error_of_the_loader_goes_through(tmp_path: Path) -> None:
    def broken():
        yield torch.zeros(4, 3)
        raise OSError("the share is gone")

    watched = dl2cli.watch(broken(), log=tmp_path / "run")
    with pytest.raises(OSError, match="the share is gone"):
        list(watched)
    assert watched.watched.epochs[0].images == 4


def test_a_nested_validation_is_not_the_steps_own(tmp_path: Path) -> None:
    train = dl2cli.watch(loader(), log=tmp_path / "train")
    val = dl2cli.watch(loader(16), log=tmp_path / "val")
    nested = 0.0
    for number, _ in enumerate(train):
        if number in (1, 3):
            list(val)
    nested = sum(each.wall_s for each in val.watched.epochs)
    assert [each.images for each in val.watched.epochs] == [16, 16]
    assert train.watched.epochs[0].images == 40
    whole = records(tmp_path / "train")
    assert whole[0]["step"] == ["P"]
    assert nested > 0


def test_two_loaders_side_by_side(tmp_path: Path) -> None:
    one = dl2cli.watch(loader(), log=tmp_path / "one")
    two = dl2cli.watch(loader(24), log=tmp_path / "two")
    assert len(list(zip(one, two, strict=False))) == 3
    assert two.watched.epochs[0].whole
    one.stop_watching()
    assert one.watched.epochs[0].steps == 3


class Slow(TensorDataset):
    """Sleeps 50 ms for each image."""

    def __init__(self, images: int) -> None:
        super().__init__(torch.arange(images))

    def __getitem__(self, index: int) -> object:
        time.sleep(0.05)
        return super().__getitem__(index)


def seed_worker(number: int) -> None:
    torch.manual_seed(number)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_keep_their_own_init(context: str, tmp_path: Path) -> None:
    options = {"num_workers": 1, "multiprocessing_context": context, "persistent_workers": True}
    plain = loader(worker_init_fn=seed_worker, **options)
    with dl2cli.watch(plain, log=tmp_path / "run") as watched:
        for _ in range(2):
            assert len(list(watched)) == 5
            assert plain.worker_init_fn is seed_worker


@pytest.mark.parametrize("persistent", [False, True])
def test_each_epoch_has_its_own_looks(
    persistent: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what the workers of earlier epochs left is not read again, epoch after epoch."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    plain = DataLoader(Slow(20), 4, num_workers=1, persistent_workers=persistent)
    with dl2cli.watch(plain, log=False) as watched:
        for _ in range(3):
            assert len(list(watched)) == 5
            assert len(list(tmp_path.glob("dl2-watch-*/*.json"))) == 1
    looks = [int(each.basis.split()[0]) for each in watched.watched.epochs]
    assert all(0 < each < 60 for each in looks), looks  # of a second at 20 a second
    assert list(tmp_path.glob("dl2-watch-*")) == []


def test_replay_gives_the_same_number_of_batches(tmp_path: Path) -> None:
    with dl2cli.watch(loader(160), log=tmp_path / "run", replay=3) as watched:
        seen = [batch[0].item() for (batch,) in watched]
        assert len(seen) == 20
        assert seen[10:16] == [0, 8, 16, 0, 8, 16]
        assert [batch[0].item() for (batch,) in watched] == list(range(0, 160, 8))
    first, second = watched.watched.epochs
    assert (first.steps, first.replay.steps, second.replay) == (10, 9, None)
    assert any("A perfect loader would give" in text for text in sentences(first, []))


@pytest.mark.parametrize("faster", [False, True])
def test_what_replayed_steps_gain_themselves_is_not_the_loaders(faster: bool) -> None:
    with dl2cli.watch(loader(160), log=False, replay=3) as watched:
        for step, _ in enumerate(watched):
            time.sleep(0.01 if faster and step > 9 else 0.04)
    (epoch,) = watched.watched.epochs
    told = [text for text in sentences(epoch, []) if "the steps alone were" in text]
    assert bool(told) is faster
    assert epoch.replay.gain / epoch.replay.step_speedup < 1.5  # there was next to no waiting


def test_windows_epochs_and_summary_are_logged(tmp_path: Path) -> None:
    with dl2cli.watch(loader(80), log=tmp_path / "run", print_freq=4) as watched:
        for _ in range(2):
            list(watched)
    folder = tmp_path / "run"
    assert steps(folder, "T")[::2] == [["T", 0, 4], ["T", 0, 8], ["T", 1, 4], ["T", 1, 8]]
    assert len(steps(folder, "S")) == 2
    parameters = records(folder)[0]["data"]
    assert parameters["batch_size"] == 8
    assert parameters["data_loader"] == "DataLoader"
    assert None not in parameters.values()
    text = (folder / "experiment_report.json").read_text()
    assert "null" not in text
    assert "NaN" not in text


def test_the_log_has_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DL2_HOME", str(tmp_path))
    folders = []
    for _ in range(2):
        with dl2cli.watch(loader(), name="mine") as watched:
            list(watched)
        folders.append(watched.watched.folder)
    assert len({*folders}) == 2
    assert all(folder.parent == tmp_path / "logs" for folder in folders)


def test_without_a_log_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with dl2cli.watch(loader(), log=False) as watched:
        list(watched)
    assert list(tmp_path.iterdir()) == []
    assert watched.watched.epochs[0].steps == 5


def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "logs").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        iter(dl2cli.watch(loader(), log=tmp_path / "logs" / "run"))
    monkeypatch.setenv("DL2_HOME", str(tmp_path))  # unasked for, it is only told
    with caplog.at_level(logging.WARNING):
        assert len(list(dl2cli.watch(loader()))) == 5
    assert "has no log" in caplog.text


def test_live_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    with dl2cli.watch(loader(), log=tmp_path / "run", live=stream) as watched:
        list(watched)
    first, second = stream.getvalue().splitlines()[:2]
    assert first.startswith("epoch 1: ")
    assert "p99" in first
    assert second.startswith("  ")


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="int is not"):
        dl2cli.watch(3)
    with pytest.raises(UsageError, match="already"):
        dl2cli.watch(dl2cli.watch(loader()))
    with pytest.raises(UsageError, match="print_freq"):
        dl2cli.watch(loader(), print_freq=0)


def test_it_needs_neither_typer_nor_rich(tmp_path: Path) -> None:
    script = f"""
import sys
for name in ("typer", "rich", "nvidia", "PIL", "matplotlib"):
    sys.modules[name] = None
import dl2cli
assert len(list(dl2cli.watch([[1, 2]] * 4, log={str(tmp_path / "run")!r}))) == 4
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
    assert len(steps(tmp_path / "run", "S")) == 2


def test_a_program_that_fails_leaves_no_summary(tmp_path: Path) -> None:
    script = f"""
import dl2cli
loader = dl2cli.watch([[1, 2]] * 4, log={str(tmp_path / "run")!r})
list(loader)
1 / 0
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)
    assert done.returncode == 1
    assert b"ZeroDivisionError" in done.stderr
    assert len(steps(tmp_path / "run", "E")) == 3
    assert steps(tmp_path / "run", "S") == []


def test_images_are_counted_in_batches_of_any_kind() -> None:
    images, labels = torch.zeros(6, 3, 4, 4), torch.zeros(6)
    assert count_images(images) == 6
    assert count_images((images, labels)) == 6
    assert count_images({"pixel_values": images, "labels": labels}) == 6
    assert count_images([{"data": images}, {"data": images}]) == 12  # DALI, two pipelines
    assert count_images([["a.jpg"] * 6, labels]) == 6
    assert count_images([{"boxes": torch.zeros(2, 4)}] * 5) == 5  # a list of samples
    assert count_images("text") == 0
    assert count_images(None) == 0
