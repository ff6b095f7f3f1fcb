"""The loss: against sums written out, mixup's algebra, and the count of right answers."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.training.optimization.loss import Criterion, LossConfig, correct


def written_out(output: torch.Tensor, probabilities: torch.Tensor, smoothing: float) -> float:
    """The mean over images of -sum(q log p), q smoothed, in Python's floats."""
    losses = []
    for row, target in zip(output.tolist(), probabilities.tolist(), strict=True):
        log_sum = math.log(math.fsum(map(math.exp, row)))
        smoothed = [q * (1 - smoothing) + smoothing / len(row) for q in target]
        losses.append(-math.fsum(q * (x - log_sum) for q, x in zip(smoothed, row, strict=True)))
    return math.fsum(losses) / len(losses)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("mixup", [0.0, 0.2])
def test_the_loss_is_the_formula(smoothing, mixup):
    torch.manual_seed(1)
    output, labels = torch.randn(6, 7) * 3, torch.randint(7, (6,))
    criterion = Criterion(LossConfig(smoothing, mixup), 7)
    _, targets = criterion.mix(torch.randn(6, 3, 4, 4), labels)
    one_hot = torch.nn.functional.one_hot(labels, 7)
    expected = written_out(output, targets if mixup else one_hot, smoothing)
    assert float(criterion(output, targets)) == pytest.approx(expected, rel=1e-5)


def test_validation_is_smoothed_unless_mixup_trains():
    output, labels = torch.eye(4) * 2, torch.arange(4)
    one_hot = torch.eye(4)
    smooth, mixed = LossConfig(0.1), LossConfig(0.1, 0.2)
    assert float(Criterion(smooth)(output, labels)) == pytest.approx(
        written_out(output, one_hot, 0.1)
    )
    assert float(Criterion(mixed, 4)(output, labels)) == pytest.approx(
        written_out(output, one_hot, 0)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_logits_of_half_precision_give_a_loss_of_float32(dtype):
    loss = Criterion(LossConfig(0.1))(torch.full((2, 3), 300, dtype=dtype), torch.tensor([0, 2]))
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(3), rel=1e-6)


@given(st.floats(1e-3, 100), st.integers(1, 9), st.integers(0, 2**31))
def test_mixup_mixes_images_and_targets_alike(alpha, batch, seed):
    """Images that are their own one-hot labels must come out as their targets."""
    torch.manual_seed(seed)
    labels = torch.randint(5, (batch,))
    images = torch.nn.functional.one_hot(labels, 5).float().view(batch, 5, 1, 1)
    mixed, targets = Criterion(LossConfig(mixup=alpha), 5).mix(images, labels)
    torch.testing.assert_close(mixed.view(batch, 5), targets)
    torch.testing.assert_close(targets.sum(1), torch.ones(batch))
    assert float(targets.min()) >= 0


def test_lambda_has_the_beta_distributions_moments():
    torch.manual_seed(0)
    criterion = Criterion(LossConfig(mixup=0.4), 2)
    values = []
    while len(values) < 1000:  # labels 0 and 1 swapped show lambda itself
        _, targets = criterion.mix(torch.zeros(2, 1, 1, 1), torch.tensor([0, 1]))
        if float(targets[0, 0]) != 1:
            values.append(float(targets[0, 0]))
    mean, variance = torch.tensor(values).mean(), torch.tensor(values).var()
    assert float(mean) == pytest.approx(0.5, abs=0.05)
    assert float(variance) == pytest.approx(0.25 / (2 * 0.4 + 1), abs=0.02)


def test_mixup_follows_the_seed_and_changes_no_input():
    images, labels = torch.randn(8, 3, 5, 5), torch.arange(8)
    before = images.clone()
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(Criterion(LossConfig(mixup=0.2), 8).mix(images, labels)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert torch.equal(images, before)


def test_mixup_keeps_channels_last():
    images = torch.randn(4, 3, 6, 6).to(memory_format=torch.channels_last)
    mixed, _ = Criterion(LossConfig(mixup=0.2), 4).mix(images, torch.arange(4))
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_without_mixup_nothing_is_touched():
    images, labels = torch.randn(2, 3, 4, 4), torch.arange(2)
    mixed, targets = Criterion(LossConfig()).mix(images, labels)
    assert mixed is images
    assert targets is labels


@given(st.integers(1, 12), st.integers(0, 2**31), st.integers(1, 20))
def test_correct_counts_as_sorting_does(classes, seed, batch):
    torch.manual_seed(seed)
    output = torch.rand(batch, classes, dtype=torch.float64)
    labels = torch.randint(classes, (batch,))
    ranks = [
        sorted(row, reverse=True).index(row[label])
        for row, label in zip(output.tolist(), labels.tolist(), strict=True)
    ]
    top1, top5 = correct(output, labels)
    assert (int(top1), int(top5)) == (ranks.count(0), sum(rank < 5 for rank in ranks))
    assert top1.dtype == top5.dtype == torch.int64


def test_under_mixup_nothing_is_counted():
    assert [int(n) for n in correct(torch.eye(3), torch.eye(3))] == [0, 0]


@pytest.mark.parametrize(
    "options",
    [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"mixup": -1.0}, {"mixup": float("nan")}],
)
def test_nonsense_is_refused(options):
    with pytest.raises(UsageError):
        LossConfig(**options)


def test_mixup_needs_classes():
    with pytest.raises(UsageError, match="two classes"):
        Criterion(LossConfig(mixup=0.2))
