"""The learning rate: as in the published logs, and as torch's own schedulers compute it."""

import json
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.training.optimization.lr_schedule import LrConfig, learning_rate


def torch_rates(make, epochs: int, lr: float = 0.5) -> list[float]:
    """The rates that a scheduler of torch gives to the epochs."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # LinearLR's own deprecated epoch
            scheduler.step()
    return rates


def rates(config: LrConfig) -> list[float]:
    return [learning_rate(config, epoch) for epoch in range(config.epochs)]


def test_cosine_is_torchs():
    config = LrConfig(lr=0.5, policy="cosine", end_lr=0.01, epochs=30)
    schedulers = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: schedulers.CosineAnnealingLR(o, 30, eta_min=0.01), 30)
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


def test_linear_is_torchs():
    config = LrConfig(lr=0.5, policy="linear", end_lr=0.05, epochs=30)
    schedulers = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: schedulers.LinearLR(o, 1.0, 0.1, total_iters=30), 30)
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(("end_lr", "factor"), [(0.0, 0.001), (0.005, 0.01)])
def test_exponential_is_torchs(end_lr, factor):
    config = LrConfig(lr=0.5, policy="exponential", end_lr=end_lr, epochs=30)
    schedulers = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: schedulers.ExponentialLR(o, factor ** (1 / 30)), 30)
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


def test_step_is_torchs():
    config = LrConfig(lr=0.5, policy="step", epochs=95)
    schedulers = torch.optim.lr_scheduler
    theirs = torch_rates(lambda o: schedulers.MultiStepLR(o, [30, 60, 80], 0.1), 95)
    assert rates(config) == pytest.approx(theirs, rel=1e-12)


policies = st.sampled_from(["step", "linear", "cosine", "exponential"])


@given(policies, st.integers(0, 40), st.integers(1, 120), st.floats(1e-4, 10))
def test_it_rises_in_warm_up_then_never_rises(policy, warmup, epochs, lr):
    config = LrConfig(lr=lr, policy=policy, warmup_epochs=warmup, epochs=epochs)
    curve = [learning_rate(config, epoch) for epoch in range(epochs + 5)]
    up, down = curve[:warmup], curve[warmup:]
    assert up == sorted(up)
    assert down == sorted(down, reverse=True)
    assert all(0 <= rate <= lr * (1 + 1e-12) for rate in curve)
    if 0 < warmup <= epochs:
        assert curve[warmup - 1] == pytest.approx(lr)


@pytest.mark.parametrize("policy", ["linear", "cosine", "exponential"])
def test_it_begins_at_lr_after_warm_up_and_ends_at_end_lr(policy):
    config = LrConfig(lr=0.4, policy=policy, end_lr=0.1, warmup_epochs=3, epochs=10)
    assert learning_rate(config, 3) == pytest.approx(0.4)
    assert learning_rate(config, 10) == pytest.approx(0.1)
    assert learning_rate(config, 99) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "cubic"}, "no learning-rate policy"),
        ({"lr": 0.0}, "above 0"),
        ({"lr": float("nan")}, "above 0"),
        ({"policy": "cosine", "end_lr": 0.2}, "must end between"),
        ({"policy": "cosine", "end_lr": float("nan")}, "must end between"),
        ({"policy": "step", "end_lr": 0.01}, "no end value"),
        ({"warmup_epochs": -1}, "cannot be"),
        ({"epochs": 0}, "cannot be"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        LrConfig(**options)


def test_every_rate_in_the_published_logs(test_data: Path):
    """The sample has 0.0512, 0.256 and 0.768, with and without warm-up, and a second stage."""
    compared, seen = 0, set()
    for path in sorted((test_data / "dl2-logs").rglob("*.json")):
        config = None
        for line in path.read_text().splitlines():
            if not line.startswith("DLLL "):
                continue
            record = json.loads(line[5:])
            step, data = record.get("step") or [None], record.get("data") or {}
            if step[0] == "P":
                names = {"warmup": "warmup_epochs", "lr_policy": "policy"}
                keys = ("lr", "warmup", "epochs", "end_lr", "lr_policy")
                config = LrConfig(**{names.get(key, key): data[key] for key in keys})
                seen.add((config.lr, config.policy, config.warmup_epochs))
            elif step[0] in ("E", "T") and "lr" in data:
                assert config is not None
                assert learning_rate(config, step[1]) == pytest.approx(data["lr"], rel=1e-12), path
                compared += 1
    assert compared > 200
    assert {lr for lr, _, _ in seen} >= {0.0512, 0.256, 0.768}
    assert {warmup for _, _, warmup in seen} == {0, 8}
