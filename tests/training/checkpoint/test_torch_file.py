"""Files of torch.save: nothing is executed, nothing is believed, and reasons are sentences."""

from __future__ import annotations

import argparse
import pickle
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from dl2cli.errors import DataError, UsageError
from dl2cli.training.checkpoint.outline import TensorOutline
from dl2cli.training.checkpoint.torch_file import outline_torch_file, read_torch_file

CONTENT = {
    "weights": OrderedDict(a=torch.arange(6.0).reshape(2, 3), b=torch.ones(4, 5).t()),
    "parameter": torch.nn.Parameter(torch.ones(2)),
    "half": torch.zeros(3, dtype=torch.bfloat16),
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0),
    "options": argparse.Namespace(lr=0.5),
    "metric": np.float64(77.25),
    "count": np.int64(7),
    "flag": np.bool_(True),
    "device": torch.device("cpu"),
    "type": torch.float32,
    "size": torch.Size([1, 2]),
    "set": {1, 2},
    "text": ["é", None, True, 1 << 70, -1.5],
}


@pytest.fixture(params=[True, False], ids=["zip", "before 1.6"])
def file(request, tmp_path: Path) -> Path:
    path = tmp_path / "file.pth"
    torch.save(CONTENT, path, _use_new_zipfile_serialization=request.param)
    return path


def test_tensors_numbers_and_recipes_are_read(file: Path):
    read = read_torch_file(file, "checkpoint")
    for name in ("a", "b"):
        assert torch.equal(read["weights"][name], CONTENT["weights"][name])
    for name in ("options", "metric", "count", "flag", "device", "type", "size", "set", "text"):
        assert read[name] == CONTENT[name]
    outline = outline_torch_file(file, "checkpoint")
    assert outline["weights"]["b"] == TensorOutline((5, 4))
    assert (outline["empty"].shape, outline["scalar"].shape) == ((0,), ())
    assert outline["text"] == CONTENT["text"]


def test_every_damaged_part_is_found(tmp_path: Path):
    """As r10 of the faults that this mends: zeros in tensor data loaded silently."""
    path = tmp_path / "file.pth"
    torch.save({str(i): torch.rand(50, 50) for i in range(4)}, path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = [part for part in archive.infolist() if "/data/" in part.filename]
    for part in parts:
        at = part.header_offset + 2000
        path.write_bytes(whole[:at] + bytes(512) + whole[at + 512 :])
        with pytest.raises(DataError, match=rf"its part {part.filename} is damaged\."):
            read_torch_file(path, "checkpoint")


def test_any_damage_is_a_sentence_or_harmless(file: Path):
    random = Random(1)
    whole = file.read_bytes()
    for _ in range(150):
        content = bytearray(whole)
        for _ in range(random.randint(1, 20)):
            content[random.randrange(len(content))] = random.randrange(256)
        file.write_bytes(content[: random.choice([len(content), random.randrange(len(content))])])
        try:
            read_torch_file(file, "checkpoint")
        except DataError as error:
            assert str(error).startswith(f"{file} is not a readable checkpoint: ")
            assert str(error).endswith(".")
            assert "weights_only" not in str(error)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<!DOCTYPE html>404", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "it is a Git LFS pointer"),
        (b"PK\x03\x04" + bytes(100), "its end is missing"),
        (b"hello world" * 100, "torch.save did not write it"),
        (pickle.dumps({"a": 1}), "torch.save did not write it"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_torch_file(path, "file of weights")


def test_what_is_no_file_is_the_users_error(tmp_path: Path):
    with pytest.raises(UsageError, match="There is no checkpoint"):
        read_torch_file(tmp_path / "none", "checkpoint")
    with pytest.raises(UsageError, match="is not a regular file"):
        read_torch_file(Path("/dev/null"), "checkpoint")


def pickled(tmp_path: Path, content: bytes, data: dict[str, bytes]) -> Path:
    """An archive as torch.save makes it, with a pickle of one's own."""
    path = tmp_path / "hostile.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for key, value in data.items():
            archive.writestr(f"archive/data/{key}", value)
    return path


class Tensor:
    """Pickles as a tensor of float32 in storage "0", whatever the numbers."""

    def __init__(self, numel: Any, offset: Any, size: Any, stride: Any) -> None:
        self.numel, self.described = numel, (offset, size, stride)


class Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            arguments = (Storage(value.numel), *value.described, False, OrderedDict())
            return torch._utils._rebuild_tensor_v2, arguments
        return NotImplemented

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return ("storage", torch.FloatStorage, "0", "cpu", value.numel)
        return None


class Storage:
    def __init__(self, numel: Any) -> None:
        self.numel = numel


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (Tensor(1 << 32, 0, (2,), (1,)), "longer than its data"),
        (Tensor(4, 0, (1 << 32,), (1,)), "longer than its data"),
        (Tensor(4, 0, (1 << 16, 1 << 16), (0, 0)), "longer than its data"),
        (Tensor(4, 3, (2,), (1,)), "longer than its data"),
        (Tensor(4, -1, (2,), (1,)), "described wrongly"),
        (Tensor(4, 0, (2, 2), (1,)), "described wrongly"),
        (Tensor(4, 0, (1.5,), (1,)), "described wrongly"),
        (Tensor("4", 0, (1,), (1,)), "is not a number"),
    ],
)
def test_tensors_lie_within_their_data(tmp_path: Path, tensor: Tensor, reason: str):
    import io

    content = io.BytesIO()
    Pickler(content, protocol=2).dump({"weight": tensor})
    path = pickled(tmp_path, content.getvalue(), {"0": bytes(16)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=reason):
        read_torch_file(path, "checkpoint")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


HOSTILE = {
    "a huge index of the memo": b"\x80\x02Nr\xff\xff\xff\x7fcos\nsystem\n.",
    "a long bytearray": b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".",
    "bytearray(n)": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x02\x85R.",
    "os.system": b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
    "getattr by a module's name": b"\x80\x02ctorch.serialization\nload\nX\x01\x00\x00\x00x\x85R.",
    "an instance of an old class": b"(ios\nsystem\n.",
    "a string longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "nothing": b"",
    "no end": b"\x80\x02}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing_and_take_no_memory(tmp_path: Path, name: str):
    path = pickled(tmp_path, HOSTILE[name], {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        read_torch_file(path, "checkpoint")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_an_old_torch_needs_trust(file: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cu118")
    with pytest.raises(UsageError, match=r"CVE-2025-32434.*--trust-checkpoint"):
        read_torch_file(file, "checkpoint")
    assert read_torch_file(file, "checkpoint", trusted=True)["metric"] == 77.25
    assert outline_torch_file(file, "checkpoint")["size"] == (1, 2)  # torch never sees it
