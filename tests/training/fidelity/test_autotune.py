"""The tuner: what it chooses, and that comparing gradients leaves no trace."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dl2cli.errors import UsageError
from dl2cli.loaders import LoaderConfig, OutputConfig, TransformConfig, create_loader
from dl2cli.training.fidelity.autotune import (
    AutotuneConfig,
    TuneDecision,
    cosine_similarity,
    mean_gradient,
    tune,
)
from dl2cli.training.optimization.loss import Criterion, LossConfig
from dl2cli.training.optimization.precision import Precision, PrecisionConfig

CPU = torch.device("cpu")
FLOAT32 = Precision(PrecisionConfig(), CPU)
ALL = tuple(range(1, 11))


def at_angles(cosines: dict[int, float]):
    """Gradients with these cosines to the one of the largest k, and lengths of their own."""
    return lambda k: k * torch.tensor([cosines[k], math.sqrt(1 - cosines[k] ** 2), 0.0])


@given(
    st.dictionaries(st.integers(1, 20), st.floats(-1, 1), min_size=1), st.floats(-1, 1, width=16)
)
def test_the_smallest_at_or_above_the_threshold_is_taken(cosines, threshold):
    full = max(cosines)
    cosines[full] = 1.0
    decision = tune(at_angles(cosines), sorted(cosines), threshold)
    assert [k for k, _ in decision.scores] == sorted(cosines)
    for k, score in decision.scores:
        assert score == pytest.approx(cosines[k], abs=1e-6)
    assert decision.scores[-1] == (full, 1.0)
    assert decision.chosen == min(k for k, score in decision.scores if score >= threshold)
    assert decision.threshold == threshold
    assert decision.note == ""


@given(st.integers(0, 2**31), st.integers(1, 3000), st.floats(1e-30, 1e30))
def test_equal_directions_give_the_smallest_even_at_a_threshold_of_1(seed, size, length):
    torch.manual_seed(seed)
    gradient = torch.randn(size) * length
    decision = tune(lambda k: gradient, ALL, 1.0)
    assert decision == TuneDecision(1, tuple((k, 1.0) for k in ALL), 1.0)


def test_opposite_directions_give_full_fidelity():
    gradient = torch.randn(50)
    decision = tune(lambda k: gradient if k == 10 else -gradient, ALL, 0.9)
    assert decision.chosen == 10
    assert decision.scores == (*((k, -1.0) for k in range(1, 10)), (10, 1.0))


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_a_candidate_without_direction_is_not_chosen_and_said_so(bad):
    good = torch.ones(4)
    decision = tune(lambda k: good * bad if k == 1 else good, ALL, -1.0)
    assert decision.chosen == 2
    assert decision.scores[0] == (1, 0.0)
    assert "not chosen: 1." in decision.note


@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_without_a_direction_at_full_fidelity_it_is_full_fidelity(bad):
    asked = []

    def gradients(k):
        asked.append(k)
        return torch.ones(4) * bad

    decision = tune(gradients, ALL, -1.0)
    assert decision.chosen == 10
    assert asked == [10]
    assert [k for k, _ in decision.scores] == list(ALL)
    assert "full fidelity" in decision.note


def test_full_fidelity_is_measured_first_and_the_order_is_that_of_the_cost():
    asked = []

    def gradients(k):
        asked.append(k)
        return torch.ones(3)

    decision = tune(gradients, (5, 2, 10), 0.9)
    assert asked == [10, 5, 2]
    assert decision.chosen == 5
    assert decision.scores == ((5, 1.0), (2, 1.0), (10, 1.0))


def test_cosines_of_long_gradients_are_exact_enough():
    torch.manual_seed(0)
    a, b = torch.randn(2, 2_500_000)
    expected = nn.functional.cosine_similarity(a.double(), b.double(), dim=0)
    assert cosine_similarity(a, b) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"every_epochs": 0},
        {"batches": 0},
        {"threshold": 1.1},
        {"threshold": math.nan},
    ],
)
def test_nonsense_is_refused(options):
    with pytest.raises(UsageError):
        AutotuneConfig(**options)


def net(classes: int = 3, *, dropout: float = 0.0) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(8, 8, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, classes),
    )


def batches(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(6)
    return [(torch.randn(n, 3, 16, 16), torch.arange(n) % 3) for n in sizes]


def test_the_mean_gradient_is_that_of_backward():
    """Without batch norm, the mean over batches of any size is the gradient of the mean loss."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 3))
    criterion, data = Criterion(LossConfig(0.1)), batches(5, 1, 0, 3)
    model[0].bias.requires_grad_(False)
    result = mean_gradient(model, criterion, FLOAT32, data)
    images, labels = (torch.cat(parts) for parts in zip(*data, strict=True))
    criterion(model(images), labels).backward()
    expected = torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.requires_grad])
    torch.testing.assert_close(result, expected)
    assert result.device == CPU
    assert len(result) == sum(p.numel() for p in model.parameters()) - 4


@pytest.mark.parametrize(
    "config",
    [
        PrecisionConfig(amp=True, static_loss_scale=128.0),
        PrecisionConfig(amp=True, dynamic_loss_scale=True),
        PrecisionConfig(amp=True, dtype="bfloat16"),
    ],
)
def test_mixed_precision_gives_the_same_direction(config):
    exact = mean_gradient(net(), Criterion(LossConfig()), FLOAT32, batches(8))
    try:
        precision = Precision(config, CPU)
    except UsageError as error:  # before torch 2.3
        pytest.skip(str(error))
    rough = mean_gradient(net(), Criterion(LossConfig()), precision, batches(8))
    assert rough.dtype == torch.float32
    assert cosine_similarity(exact, rough) > 0.99
    assert float(rough.norm() / exact.norm()) == pytest.approx(1, abs=0.05)
    assert precision.scale == Precision(config, CPU).scale


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [True, False])
def test_nothing_is_left_behind(training, fails):
    model = net(dropout=0.5)
    model.train(training)
    model[2].train(not training)
    model[0].weight.grad = torch.full_like(model[0].weight, 7.0)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]

    def data():
        yield from batches(4, 4)
        if fails:
            raise OSError("gone")

    batches(1)  # seeds; what follows is the state to keep
    random = torch.get_rng_state()
    if fails:
        with pytest.raises(OSError, match="gone"):
            mean_gradient(model, Criterion(LossConfig(mixup=0.2), 3), FLOAT32, data())
    else:
        mean_gradient(model, Criterion(LossConfig(mixup=0.2), 3), FLOAT32, data())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in model.modules()] == modes
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert torch.equal(model[0].weight.grad, torch.full_like(model[0].weight, 7.0))
    assert all(p.grad is None for p in list(model.parameters())[1:])


def test_it_sees_the_model_in_training_mode():
    """In evaluation mode, batch norm would use its statistics, which are nonsense here."""
    model = net()
    model[1].running_mean.fill_(1e6)
    model.eval()
    strange = mean_gradient(model, Criterion(LossConfig()), FLOAT32, batches(6))
    usual = mean_gradient(net(), Criterion(LossConfig()), FLOAT32, batches(6))
    assert torch.equal(strange, usual)


def test_parameters_that_take_no_part_have_zeros():
    model = net()
    model.unused = nn.Linear(2, 2)
    model.forward = model[:9].forward  # the method: a module would become a child
    result = mean_gradient(model, Criterion(LossConfig()), FLOAT32, batches(4))
    assert torch.equal(result[-6:], torch.zeros(6))
    assert float(result[:-6].abs().sum()) > 0


def test_no_images_give_zeros_and_full_fidelity():
    def gradients(k):
        return mean_gradient(net(), Criterion(LossConfig()), FLOAT32, batches(0))

    assert tune(gradients, ALL, 0.9).chosen == 10


def test_gradients_of_real_jpegs_come_closer_with_every_scan(sample_pcr: Path):
    """Means over nets, since one net on a few photos may be lucky once."""
    asked = LoaderConfig(
        sample_pcr / "train",
        batch_size=12,
        transform=TransformConfig(size=64, scale=(0.5, 1.0)),
        output=OutputConfig(normalized=True),
    )

    def loaded(k):
        loader = create_loader("pcr", LoaderConfig(**{**vars(asked), "scans": k}))
        return [(batch.images, batch.labels) for batch in loader]

    data = {k: loaded(k) for k in (1, 2, 5, 10)}
    assert all(torch.equal(data[1][i][1], data[10][i][1]) for i in range(2))  # same samples
    scores: dict[int, list[float]] = {}
    for seed in range(5):
        model = net(6)
        torch.manual_seed(seed)
        model.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
        decision = tune(
            lambda k, model=model: mean_gradient(model, Criterion(LossConfig()), FLOAT32, data[k]),
            (1, 2, 5, 10),
            0.95,
        )
        for k, score in decision.scores:
            scores.setdefault(k, []).append(score)
    means = {k: sum(values) / len(values) for k, values in scores.items()}
    assert means[1] < means[2] < means[5] < means[10] == 1.0
