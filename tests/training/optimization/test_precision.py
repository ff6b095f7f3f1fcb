"""Mixed precision: gradients are those of float32, overflows are seen, and nothing is hidden."""

import contextlib
import inspect
import json
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from dl2cli.errors import UsageError
from dl2cli.training.optimization.precision import Precision, PrecisionConfig

pytestmark = pytest.mark.skipif(
    not hasattr(torch.amp, "GradScaler"), reason="before torch 2.3 GPUs alone have all of this"
)
CPU = torch.device("cpu")
CONFIGS = {
    "off": PrecisionConfig(),
    "float16 static": PrecisionConfig(amp=True, static_loss_scale=128.0),
    "float16 unscaled": PrecisionConfig(amp=True),
    "float16 dynamic": PrecisionConfig(amp=True, dynamic_loss_scale=True),
    "bfloat16": PrecisionConfig(amp=True, dtype="bfloat16"),
    "bfloat16 static": PrecisionConfig(amp=True, dtype="bfloat16", static_loss_scale=8.0),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


class Weight(nn.Module):
    """One weight whose gradient is what the test asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def loss(self, gradient: float) -> torch.Tensor:
        return self.weight.sum() * gradient


def trained(
    config: PrecisionConfig, gradients: list[float], state: dict[str, Any] | None = None
) -> tuple[float, Precision]:
    """The weight after a step of lr 1 for each gradient, from a saved state if there is one."""
    model = Weight()
    precision = Precision(config, CPU)
    if state is not None:
        precision.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for gradient in gradients:
        precision.backward(model.loss(gradient))
        precision.step(optimizer)
        optimizer.zero_grad(set_to_none=True)
    return model.weight.item(), precision


@every_config
def test_a_step_follows_the_unscaled_gradient(config):
    weight, precision = trained(config, [0.25, 0.5])
    assert weight == 0.25
    assert precision.skipped_steps == 0


@every_config
def test_accumulated_gradients_make_one_step(config):
    model, precision = Weight(), Precision(config, CPU)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for gradient in (0.25, 0.125, 0.125):
        precision.backward(model.loss(gradient))
    precision.step(optimizer)
    assert model.weight.item() == 0.5


@every_config
def test_a_small_net_learns_as_in_float32(config):
    def losses(config: PrecisionConfig) -> list[float]:
        torch.manual_seed(0)
        images, labels = torch.randn(16, 3, 6, 6), torch.arange(16) % 4
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4)
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        precision, history = Precision(config, CPU), []
        for _ in range(5):
            with precision.autocast():
                loss = nn.functional.cross_entropy(model(images).float(), labels)
            precision.backward(loss)
            precision.step(optimizer)
            optimizer.zero_grad()
            history.append(loss.item())
        assert precision.skipped_steps == 0
        return history

    reference = losses(PrecisionConfig())
    assert losses(config) == pytest.approx(reference, rel=0.05, abs=0.02)
    assert reference[-1] < reference[0] / 2


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("off", torch.float32), ("float16 static", torch.float16), ("bfloat16", torch.bfloat16)],
)
def test_convolutions_compute_in_the_type_asked_for(name, dtype):
    with Precision(CONFIGS[name], CPU).autocast():
        assert nn.Conv2d(1, 1, 1)(torch.ones(1, 1, 2, 2)).dtype == dtype


def test_without_amp_nothing_is_wrapped():
    precision = Precision(PrecisionConfig(static_loss_scale=128.0), CPU)
    assert isinstance(precision.autocast(), contextlib.nullcontext)
    assert precision.scale == 1.0
    assert PrecisionConfig(static_loss_scale=128.0).check() == (
        "Without mixed precision the loss scale is ignored, as published.",
    )
    assert CONFIGS["float16 static"].check() == ()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("name", ["float16 static", "float16 dynamic"])
def test_a_fused_optimiser_leaves_out_an_overflow_by_itself(name, device):
    if "fused" not in inspect.signature(torch.optim.SGD).parameters:
        pytest.skip("this torch has no fused SGD")
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    model = Weight().to(device)
    precision = Precision(CONFIGS[name], torch.device(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0, fused=True)
    for gradient in (0.25, float("inf"), 0.25):
        precision.backward(model.loss(gradient))
        precision.step(optimizer)
        optimizer.zero_grad()
    assert model.weight.item() == 0.5
    assert precision.skipped_steps == 1
    assert precision.scale == (128.0 if name == "float16 static" else 2.0**15)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_static_scale_leaves_out_an_overflow_counts_it_and_stays(bad):
    weight, precision = trained(CONFIGS["float16 static"], [0.25, bad, bad, 0.25])
    assert weight == 0.5
    assert precision.skipped_steps == 2
    assert precision.scale == 128.0


def test_a_gradient_that_only_the_scale_makes_overflow_is_seen():
    weight, precision = trained(CONFIGS["float16 static"], [1e37, 0.25])
    assert weight == 0.75
    assert precision.skipped_steps == 1


def test_a_dynamic_scale_comes_down_until_gradients_fit():
    weight, precision = trained(CONFIGS["float16 dynamic"], [2.0**115] * 5)
    assert precision.skipped_steps == 4  # 2^16 times 2^115, and its halves down to 2^128
    assert precision.scale == 2.0**12
    assert weight == pytest.approx(-(2.0**115))


def test_without_scaling_an_overflow_is_not_left_out():
    weight, precision = trained(PrecisionConfig(), [float("nan")])
    assert weight != weight  # noqa: PLR0124 - NaN
    assert precision.skipped_steps == 0


def test_a_loss_that_is_no_number_stays_one():
    with Precision(CONFIGS["float16 static"], CPU).autocast():
        loss = nn.functional.cross_entropy(torch.full((2, 3), torch.nan), torch.tensor([0, 1]))
    assert bool(loss.isnan())


def test_a_dynamic_scale_goes_on_from_its_state_and_grows_when_it_would_have():
    config = CONFIGS["float16 dynamic"]
    start = Precision(config, CPU).state_dict()
    assert start["scaler"]["growth_interval"] == 2000
    start["scaler"]["growth_interval"] = 10
    gradients = [2.0**115] * 5 + [1.0] * 9
    _, whole = trained(config, gradients, start)
    _, first = trained(config, gradients[:8], start)
    assert first.scale == 2.0**12
    _, second = trained(config, gradients[8:], json.loads(json.dumps(first.state_dict())))
    assert second.state_dict() == whole.state_dict()
    assert second.scale == 2.0**13
    assert second.skipped_steps == 4


@every_config
def test_any_state_can_be_taken_up_by_any_other_precision(config):
    for other in CONFIGS.values():
        _, before = trained(other, [1.0])
        precision = Precision(config, CPU)
        expected = precision.scale
        precision.load_state_dict(json.loads(json.dumps(before.state_dict())))
        if not config.dynamic_loss_scale:
            assert precision.scale == expected
        model = Weight()
        precision.backward(model.loss(0.5))
        precision.step(torch.optim.SGD(model.parameters(), lr=1.0))
        assert model.weight.item() == 0.5


def test_a_torch_without_it_is_told_by_name(monkeypatch):
    monkeypatch.delattr(torch.amp, "GradScaler")
    with pytest.raises(UsageError, match=r"torch \S+ scales the loss on GPUs alone"):
        Precision(CONFIGS["float16 static"], CPU)

    def autocast(device, dtype):
        warnings.warn("not in this type", stacklevel=2)

    monkeypatch.setattr(torch, "autocast", autocast)
    with pytest.raises(UsageError, match="no mixed precision in bfloat16 on this cpu"):
        Precision(CONFIGS["bfloat16"], CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "float16 or bfloat16"),
        ({"static_loss_scale": 0.0}, "above 0"),
        ({"static_loss_scale": float("nan")}, "above 0"),
        ({"static_loss_scale": 2.0, "dynamic_loss_scale": True}, "either static or dynamic"),
        ({"amp": True, "dtype": "bfloat16", "dynamic_loss_scale": True}, "range of float32"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        PrecisionConfig(**options)
