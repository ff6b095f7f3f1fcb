"""Weights from files: what fits, what is left fresh, and what is refused."""

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dl2cli.errors import DataError, UsageError
from dl2cli.training.models import ModelConfig, create_model
from dl2cli.training.models.weights import load_weights

ARCH = "small_cnn"


def network(classes: int = 3, seed: int = 0, arch: str = ARCH) -> torch.nn.Module:
    torch.manual_seed(seed)
    return create_model(ModelConfig(arch=arch, num_classes=classes))


def state(**options) -> dict[str, torch.Tensor]:
    return network(seed=1, **options).state_dict()


def same(model: torch.nn.Module, wanted: dict[str, torch.Tensor]) -> bool:
    own = model.state_dict()
    return all(torch.equal(own[name], wanted[name]) for name in own)


def prefixed(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in tensors.items()}


CONTAINERS = {
    "alone": lambda s: s,
    "state_dict": lambda s: {"state_dict": s, "epoch": 3, "arch": ARCH, "optimizer": {"state": {}}},
    "dl2": lambda s: {"format": "dl2-checkpoint", "version": 1, "model": s, "step": 7},
    "ddp": lambda s: {"state_dict": prefixed("module.", s)},
    "compiled ddp": lambda s: prefixed("module._orig_mod.", s),
    "ddp compiled": lambda s: prefixed("_orig_mod.module.", s),
}


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("new_format", [True, False])
def test_weights_come_in_many_wrappings(tmp_path: Path, name, new_format):
    path, wanted = tmp_path / "weights.pth.tar", state()
    torch.save(CONTAINERS[name](wanted), path, _use_new_zipfile_serialization=new_format)
    model = network()
    loaded = load_weights(model, path)
    assert same(model, wanted)
    assert (loaded.loaded, loaded.reinitialised, loaded.missing) == (len(wanted), (), ())


def test_safetensors(tmp_path: Path):
    path, wanted = tmp_path / "weights.safetensors", state()
    save_file(wanted, path)
    model = network()
    load_weights(model, path)
    assert same(model, wanted)


def test_half_precision_is_converted(tmp_path: Path):
    path, wanted = tmp_path / "half.pth", state()
    torch.save({name: tensor.half() for name, tensor in wanted.items()}, path)
    model = network()
    load_weights(model, path)
    assert model.fc.weight.dtype == torch.float32
    torch.testing.assert_close(model.fc.weight.detach(), wanted["fc.weight"], rtol=1e-3, atol=1e-3)


def test_another_number_of_classes_leaves_the_last_layer_fresh(tmp_path: Path):
    path, wanted, told = tmp_path / "weights.pth", state(classes=10), []
    torch.save(wanted, path)
    torch.manual_seed(0)
    config = ModelConfig(arch=ARCH, num_classes=3, pretrained_weights=path)
    own = create_model(config, told.append).state_dict()
    fresh = network(classes=3, seed=0).state_dict()
    assert torch.equal(own["fc.weight"], fresh["fc.weight"])
    inner = [name for name in own if not name.startswith("fc.")]
    assert all(torch.equal(own[name], wanted[name]) for name in inner)
    assert told == [
        f"Took {len(inner)} tensors from {path}; its last layer has 10 classes, so that one starts "
        "afresh."
    ]


def test_old_checkpoints_count_no_batches(tmp_path: Path):
    path, wanted = tmp_path / "old.pth", state(arch="shufflenet_v2_x1_0")
    old = {name: t for name, t in wanted.items() if not name.endswith("num_batches_tracked")}
    torch.save(old, path)
    model = network(arch="shufflenet_v2_x1_0")
    loaded = load_weights(model, path)
    assert same(model, wanted)
    assert len(loaded.missing) == len(wanted) - len(old) == 56


def refused(tmp_path: Path, content, match: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    model = network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(DataError, match=match) as caught:
        load_weights(model, path)
    assert str(path) in str(caught.value)
    assert same(model, before), "a refused file changes nothing"


def test_the_first_misfit_is_named(tmp_path: Path):
    first = next(iter(state()))
    shorter = {name: t for name, t in state().items() if name != "fc.bias"}
    refused(tmp_path, shorter, r"do not fit this network: the file has no fc\.bias")
    refused(tmp_path, state() | {"extra.weight": torch.ones(1)}, r"this network has no extra\.weig")
    refused(tmp_path, state() | {first: torch.ones(2, 2)}, r"is \(2, 2\) in the file and \(\d+, 3,")
    refused(tmp_path, state() | {"fc.weight": torch.ones(3, 1)}, r"fc\.weight is \(3, 1\) in the ")
    refused(tmp_path, state() | {"fc.bias": torch.ones(3).long()}, r"fc\.bias is of type .*int64")
    refused(tmp_path, state(arch="resnet18"), r"do not fit this network: the file has no ")


def test_what_holds_no_weights_is_refused(tmp_path: Path):
    refused(tmp_path, {}, "holds no weights")
    refused(tmp_path, [1, 2], "holds no weights")
    refused(tmp_path, {"state_dict": {"epoch": 3}}, r"holds no weights: 'epoch' is not a tensor")
    refused(tmp_path, {"args": Path("x")}, r"it holds a .*, and only tensors")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("plain", [True, False])
def test_nothing_in_a_file_is_executed(tmp_path: Path, plain):
    sprung, path = tmp_path / "sprung", tmp_path / "weights.pth"
    content = {"state_dict": Trap(sprung)}
    if plain:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match=str(path)):
        load_weights(network(), path)
    assert not sprung.exists()


def test_damaged_files_are_refused(tmp_path: Path):
    good, bad = tmp_path / "good.pth", tmp_path / "bad.pth"
    torch.save(state(), good)
    content = good.read_bytes()
    for damaged in (b"", b"no weights", content[:100], content[: len(content) // 2]):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad\.pth is not a readable file of weights: ."):
            load_weights(network(), bad)
    bad = tmp_path / "bad.safetensors"
    for damaged in (b"", b"\xff" * 64):
        bad.write_bytes(damaged)
        with pytest.raises(DataError, match=r"bad\.safetensors is not a readable safetensors file"):
            load_weights(network(), bad)


def test_compressed_archives_are_refused_before_they_grow(tmp_path: Path):
    path, bomb = tmp_path / "weights.pth", tmp_path / "bomb.pth"
    torch.save({"w": torch.zeros(1 << 16)}, path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    with pytest.raises(DataError, match="its contents are compressed"):
        load_weights(network(), bomb)


def test_a_missing_file_is_the_users_mistake(tmp_path: Path):
    for path in (tmp_path / "none.pth", tmp_path):
        with pytest.raises(UsageError, match=r"There is no file of weights|is not a regular file"):
            load_weights(network(), path)
