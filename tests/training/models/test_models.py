"""The networks: sizes, names and outputs as published, and what can be asked of each."""

import hashlib
import subprocess
import sys

import pytest
import torch
from models_by_formula import fill, picture
from torch import nn

from dl2cli.errors import MissingDependency, UsageError
from dl2cli.training.models import (
    ARCHITECTURES,
    ModelConfig,
    canonical_arch,
    check_image_size,
    create_model,
    set_training_mode,
)
from dl2cli.training.models.registry import NETWORKS, last_layer
from dl2cli.training.models.trial import check_takes_images


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build(arch: str, **options) -> nn.Module:
    return create_model(ModelConfig(arch=arch, **options))


def on_no_device(arch: str, **options) -> nn.Module:
    """The network without memory: names and shapes alone."""
    with torch.device("meta"):
        return build(arch, **options)


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


# torchvision's documentation; the two ResNeXts: timm's model cards (44.2 M and 49.0 M).
PARAMETERS = {
    "alexnet": 61_100_840,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext101_32x4d": 44_177_704,
    "se_resnext101_32x4d": 48_955_416,
    "shufflenet_v2_x1_0": 2_278_604,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
}


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameters_are_as_many_as_published(arch):
    assert sum(p.numel() for p in on_no_device(arch).parameters()) == PARAMETERS[arch]


def test_the_small_net_is_small_and_knows_no_batch():
    model = build("small_cnn", num_classes=6)
    assert sum(p.numel() for p in model.parameters()) < 100_000
    images = torch.randn(4, 3, 64, 64)
    alone = torch.cat([model.train()(images[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(model(images), alone)


def test_every_name_has_a_network():
    assert set(ARCHITECTURES) == set(NETWORKS)
    for arch in ARCHITECTURES:
        assert canonical_arch(arch.upper().replace("_", "-")) == arch


def test_published_names_are_understood():
    assert canonical_arch("resnext101-32x4d") == "resnext101_32x4d"
    assert canonical_arch("se-resnext101-32x4d") == "se_resnext101_32x4d"
    assert canonical_arch("torchvision:vit_b_16") == "torchvision:vit_b_16"


def test_what_makes_no_sense_is_refused():
    with pytest.raises(UsageError, match=r"no network 'resnet51'; there are alexnet, .*small_cnn"):
        build("resnet51")
    with pytest.raises(UsageError, match="num_classes must be at least 1, not 0"):
        build("resnet18", num_classes=0)
    with pytest.raises(UsageError, match=r"no model_config 'classy'; there are classic, fanin"):
        build("resnet18", model_config="classy")


def flops(arch: str, px: int = 224) -> float:
    """Multiply-adds of convolutions and linear layers for an image, in 10^9."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        model, image = build(arch).eval(), torch.empty(1, 3, px, px)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() / 2e9


# torchvision's table of models; 32x4d: timm's model card (8.0).
FLOPS = {
    "alexnet": 0.71,
    "resnet18": 1.81,
    "resnet34": 3.66,
    "resnet50": 4.09,
    "resnet101": 7.80,
    "resnet152": 11.51,
    "resnext101_32x4d": 8.0,
    "se_resnext101_32x4d": 8.0,
    "shufflenet_v2_x1_0": 0.14,
    "mobilenet_v3_small": 0.06,
    "mobilenet_v3_large": 0.22,
}


@pytest.mark.parametrize("arch", FLOPS)
def test_multiply_adds_are_as_many_as_published(arch):
    assert flops(arch) == pytest.approx(FLOPS[arch], abs=0.05 if FLOPS[arch] > 5 else 0.006)


# Made once with torchvision 0.28.0 (the ResNeXts: its ResNet class, and timm 1.0.31): a digest of
# names and shapes in the order of the state dict, and the first logits of a 96-pixel image, with
# weights and image by formula (see models_by_formula).
GOLDEN = {
    "alexnet": ("9c198ebdae1863e4", (-0.99361, 0.48575, -0.34267, -0.41420)),
    "resnet18": ("84fb10d9c6905a1c", (0.50321, 0.69587, -0.28847, 1.85626)),
    "resnet34": ("28f9096d51307499", (1.62328, -1.94026, 1.94348, -0.90393)),
    "resnet50": ("d7e4f8bb0a536344", (-3.53126, 0.24197, 2.14505, 0.51061)),
    "resnet101": ("02c0f34f4842751f", (-4.84998, 0.36553, 3.01954, -0.03008)),
    "resnet152": ("685c66205bc823aa", (-7.27697, 3.79756, 3.79132, -3.11255)),
    "resnext101_32x4d": ("c3d97ee6211595a1", (-7.08967, 4.14516, 3.68410, -2.95892)),
    "se_resnext101_32x4d": ("11345c371de5e3c2", (-0.75391, 0.90318, -0.35043, 0.19468)),
    "shufflenet_v2_x1_0": ("81b349bc1cbbbc7a", (-0.04658, -0.47461, -0.72265, -0.41821)),
    "mobilenet_v3_small": ("5f0efaf3ff4ac979", (-0.43353, -0.15077, -0.04108, 1.47948)),
    "mobilenet_v3_large": ("efe98e40831bae95", (-0.80029, 1.38057, -0.75873, 0.41119)),
}


@pytest.mark.parametrize("arch", GOLDEN)
def test_names_and_shapes_are_those_of_published_checkpoints(arch):
    state = on_no_device(arch).state_dict()
    text = "\n".join(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == GOLDEN[arch][0]


@pytest.mark.parametrize("arch", GOLDEN)
def test_outputs_are_those_of_published_networks(arch):
    with torch.device("meta"):
        model = build(arch)
    model.to_empty(device="cpu").eval()
    fill(model)
    with torch.no_grad():
        logits = model(picture(96))[0, :4]
    torch.testing.assert_close(logits, torch.tensor(GOLDEN[arch][1]), rtol=1e-3, atol=1e-3)


SMALL_ONES = ("resnet18", "shufflenet_v2_x1_0", "mobilenet_v3_small", "small_cnn")


@pytest.mark.parametrize("px", [32, 33, 70, 129])
@pytest.mark.parametrize("arch", SMALL_ONES)
def test_any_size_will_do(arch, px):
    check_image_size(arch, px)
    with torch.device("meta"):
        assert build(arch, num_classes=5).eval()(torch.empty(2, 3, px, px)).shape == (2, 5)


def test_alexnet_needs_63_pixels():
    check_image_size("AlexNet", 63)
    with pytest.raises(UsageError, match="AlexNet needs images of 63 pixels or more, not 62"):
        check_image_size("AlexNet", 62)
    model = on_no_device("alexnet", num_classes=5).eval()
    assert model(torch.empty(1, 3, 63, 63, device="meta")).shape == (1, 5)
    with pytest.raises(RuntimeError, match="too small"):
        model(torch.empty(1, 3, 62, 62, device="meta"))


@pytest.mark.parametrize("arch", SMALL_ONES)
def test_channels_last_is_the_same_network(arch):
    model, images = build(arch, num_classes=5).eval(), torch.randn(2, 3, 64, 64)
    wanted = model(images)
    model.to(memory_format=torch.channels_last)
    got = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("arch", SMALL_ONES)
def test_a_step_in_bfloat16(arch):
    model, images = build(arch, num_classes=5), torch.randn(4, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        loss = nn.functional.cross_entropy(model(images).float(), torch.arange(4))
    loss.backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == p.dtype for p in model.parameters())


def test_networks_can_be_traced():
    """What torch.compile does first, without the compiler that it needs afterwards."""
    for arch in ("shufflenet_v2_x1_0", "small_cnn"):
        model, images = build(arch, num_classes=5).eval(), torch.randn(2, 3, 64, 64)
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(images), model(images))
        torch.compiler.reset()


def deviation(arch: str, model_config: str) -> float:
    """The deviation of an inner convolution's weights."""
    return convolutions(build(arch, model_config=model_config))[7].weight.std().item()


def test_model_config_names_the_initialisation():
    """Convolution 7 of ResNet-18 is the projection of layer2: 64 inputs, 128 outputs, 1x1."""
    torch.manual_seed(0)
    out, into = (2 / 128) ** 0.5, (2 / 64) ** 0.5
    assert deviation("resnet18", "classic") == pytest.approx(out, rel=0.05)
    assert deviation("resnet18", "grp-fanout") == pytest.approx(out, rel=0.05)
    assert deviation("resnet18", "fanin") == pytest.approx(into, rel=0.05)
    assert deviation("resnet18", "grp-fanin") == pytest.approx(into, rel=0.05)
    gammas = [m.weight for m in build("resnet18").modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((gamma == 1).all() for gamma in gammas)


def test_a_seed_gives_the_same_weights():
    def make(seed):
        torch.manual_seed(seed)
        return build("small_cnn").state_dict()

    first, again, other = make(1), make(1), make(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_freezing_leaves_the_last_layer(arch):
    model = on_no_device(arch, num_classes=7, freeze_inner_layers=True)
    name, layer = last_layer(model)
    learning = [name for name, p in model.named_parameters() if p.requires_grad]
    assert learning == [f"{name}.weight", f"{name}.bias"]
    assert layer.out_features == 7


def test_frozen_batch_norms_do_not_follow_the_data():
    model = build("resnet18", num_classes=3, freeze_inner_layers=True)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    set_training_mode(model)
    assert model.training
    assert model.layer1.training
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(2):
        model(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    changed = {n for n, tensor in model.state_dict().items() if not torch.equal(tensor, before[n])}
    assert changed == {"fc.weight", "fc.bias"}


def test_batch_norms_that_learn_follow_the_data():
    model = build("resnet18", num_classes=3)
    set_training_mode(model.eval())
    assert all(module.training for module in model.modules())


def test_torchvision_that_is_missing_or_broken_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator nms does not exist')")
    with pytest.raises(MissingDependency, match=r"fits torch .*operator nms does not exist"):
        build("torchvision:vgg11")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependency, match=r"^torchvision is needed for this: pip install"):
        build("torchvision:vgg11")


def test_a_network_of_torchvision_says_which_images_it_takes():
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 5), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    check_takes_images(net.train(), "torchvision:net", 8)
    assert all(module.training for module in net.modules())
    with pytest.raises(UsageError, match=r"torchvision:net cannot take images of 9 pixels \(mat1"):
        check_takes_images(net, "torchvision:net", 9)
    pytest.importorskip("torchvision")
    vit = build("torchvision:vit_b_16")
    with pytest.raises(UsageError, match=r"of 64 pixels \(Wrong image height! Expected 224"):
        check_takes_images(vit, "torchvision:vit_b_16", 64)


def test_names_are_known_without_torch():
    code = (
        "import sys; from dl2cli.training.models import ARCHITECTURES, ModelConfig, canonical_arch;"
        "canonical_arch('ResNet-18'.replace('-', '')); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
