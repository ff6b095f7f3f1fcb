"""The optimiser: which parameters it decays, and that a step is what the textbook says."""

import pytest
import torch
from torch import nn

from dl2cli.errors import UsageError
from dl2cli.training.models import ModelConfig, create_model
from dl2cli.training.optimization.optimizer import OptimizerConfig, create_optimizer, load_state


def small_net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.Linear(16, 8),
        nn.LayerNorm(8),
        nn.Linear(8, 2),
    )


def give_gradients(model: nn.Module) -> None:
    for i, parameter in enumerate(model.parameters()):
        parameter.grad = torch.sin(torch.arange(parameter.numel()) + i).view_as(parameter)


def test_norms_are_exempt_and_biases_are_not():
    model = small_net()
    decayed, norms = create_optimizer(model, OptimizerConfig(), 0.1).param_groups
    assert decayed["weight_decay"] == 1e-4
    assert norms["weight_decay"] == 0
    expected = [*model[1].parameters(), *model[4].parameters()]
    assert list(map(id, norms["params"])) == list(map(id, expected))
    assert any(parameter is model[0].bias for parameter in decayed["params"])
    assert len(decayed["params"]) + len(norms["params"]) == len(list(model.parameters()))


def test_bn_weight_decay_decays_all():
    groups = create_optimizer(small_net(), OptimizerConfig(bn_weight_decay=True), 0.1).param_groups
    assert [group["weight_decay"] for group in groups] == [1e-4, 1e-4]


def test_the_norm_on_a_shortcut_is_exempt_though_its_name_says_nothing():
    model = create_model(ModelConfig("resnet18", num_classes=4))
    optimizer = create_optimizer(model, OptimizerConfig(), 0.1)
    norms = set(map(id, optimizer.param_groups[1]["params"]))
    assert id(model.get_parameter("layer2.0.downsample.1.weight")) in norms
    assert len(norms) == 2 * 20  # ResNet-18 has 20 batch norms


def test_frozen_parameters_are_left_out_and_all_frozen_is_an_error():
    model = small_net()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(UsageError, match="frozen"):
        create_optimizer(model, OptimizerConfig(), 0.1)
    model[5].requires_grad_(True)
    decayed, norms = create_optimizer(model, OptimizerConfig(), 0.1).param_groups
    assert len(decayed["params"]) == 2
    assert norms["params"] == []


def test_a_model_with_a_shared_parameter_has_it_once():
    model = small_net()
    model.append(nn.Linear(8, 2))
    model[6].weight = model[5].weight
    decayed, _ = create_optimizer(model, OptimizerConfig(), 0.1).param_groups
    assert sum(parameter is model[5].weight for parameter in decayed["params"]) == 1


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_steps_as_sutskever_wrote_them(nesterov):
    model, lr, momentum, decay = small_net(), 0.1, 0.875, 0.01
    config = OptimizerConfig(momentum=momentum, nesterov=nesterov, weight_decay=decay)
    optimizer = create_optimizer(model, config, lr)
    norms = {id(p) for p in optimizer.param_groups[1]["params"]}
    mine = [p.detach().clone() for p in model.parameters()]
    velocity = [torch.zeros_like(p) for p in mine]
    for _ in range(3):
        give_gradients(model)
        for i, p in enumerate(model.parameters()):
            gradient = p.grad + (0 if id(p) in norms else decay) * mine[i]
            velocity[i] = momentum * velocity[i] + gradient
            mine[i] = mine[i] - lr * (
                gradient + momentum * velocity[i] if nesterov else velocity[i]
            )
        optimizer.step()
    for p, expected in zip(model.parameters(), mine, strict=True):
        torch.testing.assert_close(p.detach(), expected)


def test_rmsprop_divides_by_the_running_root_mean_square():
    model, lr, alpha, eps, momentum = small_net(), 0.01, 0.8, 0.002, 0.5
    config = OptimizerConfig("rmsprop", momentum, False, 0.0, False, alpha, eps)
    optimizer = create_optimizer(model, config, lr)
    mine = [p.detach().clone() for p in model.parameters()]
    square, velocity = ([torch.zeros_like(p) for p in mine] for _ in range(2))
    for _ in range(3):
        give_gradients(model)
        for i, p in enumerate(model.parameters()):
            square[i] = alpha * square[i] + (1 - alpha) * p.grad**2
            velocity[i] = momentum * velocity[i] + p.grad / (square[i].sqrt() + eps)
            mine[i] = mine[i] - lr * velocity[i]
        optimizer.step()
    for p, expected in zip(model.parameters(), mine, strict=True):
        torch.testing.assert_close(p.detach(), expected)


def test_channels_last_makes_no_difference():
    """Fused kernels see memory, not indices."""

    def weights(memory_format: torch.memory_format) -> list[torch.Tensor]:
        model = small_net().to(memory_format=memory_format)
        optimizer = create_optimizer(model, OptimizerConfig(), 0.1)
        for i in range(3):
            images = torch.arange(2 * 3 * 4 * 4.0).sin().view(2, 3, 4, 4) + i
            model(images.to(memory_format=memory_format)).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        return [p.detach().contiguous() for p in model.parameters()]

    torch.testing.assert_close(weights(torch.channels_last), weights(torch.contiguous_format))


def test_where_torch_refuses_fused_kernels_nothing_of_them_remains(monkeypatch):
    """As torch 2.3 on a CPU, which finds out when the groups are written already."""

    class Refuses(torch.optim.SGD):
        def __init__(self, groups, **options):
            super().__init__(groups, **options)
            if options.get("fused"):
                raise RuntimeError("no kernels for cpu")

    monkeypatch.setattr(torch.optim, "SGD", Refuses)
    model = small_net()
    optimizer = create_optimizer(model, OptimizerConfig(), 0.1)
    assert not any(group.get("fused") for group in optimizer.param_groups)
    give_gradients(model)
    optimizer.step()


def test_a_state_without_fused_kernels_leaves_them_on():
    """With them off, the scaler would take it that the kernels leave out an overflow."""
    optimizer = create_optimizer(small_net(), OptimizerConfig(), 0.1)
    state = optimizer.state_dict()
    fused = [group.get("fused") for group in state["param_groups"]]
    for group in state["param_groups"]:
        group["fused"] = None
        group["weight_decay"] = 0.05
    load_state(optimizer, state)
    assert [group.get("fused") for group in optimizer.param_groups] == fused
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0]


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam"},
        {"momentum": 1.0},
        {"momentum": -0.1},
        {"momentum": float("nan")},
        {"nesterov": True, "momentum": 0.0},
        {"nesterov": True, "optimizer": "rmsprop"},
        {"weight_decay": -1e-4},
        {"weight_decay": float("inf")},
        {"rmsprop_alpha": 1.0},
        {"rmsprop_eps": 0.0},
    ],
)
def test_nonsense_is_refused(options):
    with pytest.raises(UsageError):
        OptimizerConfig(**options)
