"""Puts the parts of a training together: device, data, model, optimiser."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from dl2cli.errors import DataError, UsageError
from dl2cli.loaders import Batch, Loader, LoaderConfig, create_loader, create_validation_loader
from dl2cli.loaders.device import DeviceTransfer
from dl2cli.training.checkpoint.schema import seed_fits
from dl2cli.training.config import TrainConfig
from dl2cli.training.distributed import Group
from dl2cli.training.log.parameters import parameters
from dl2cli.training.models import (
    TORCHVISION,
    canonical_arch,
    check_image_size,
    create_model,
)
from dl2cli.training.models.trial import check_takes_images, needs_two_images
from dl2cli.training.optimization.loss import Criterion
from dl2cli.training.optimization.lr_schedule import learning_rate
from dl2cli.training.optimization.optimizer import create_optimizer
from dl2cli.training.optimization.precision import Precision
from dl2cli.training.optimization.step import TrainStep
from dl2cli.training.resume import changes, check_classes, restore_optimizer, restore_precision

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Parts:
    """What a training works with.

    Attributes:
        seed: the random seed, the same on all ranks.
        parameters: the run's P record.
        loader: gives training batches.
        validation: gives validation batches, if there are any.
        model: the network itself: its state is what is saved.
        replica: the network as steps call it: compiled, and in step with the other ranks.
        optimizer: updates the model's parameters.
        criterion: the loss.
        precision: the number types to compute in.
        step: does one training step.
        batches_per_step: number of batches whose gradients make a step of the optimiser.
        transfer: brings batches to the device.
        remarks: sentences that tell the user what the parts were made from.
    """

    seed: int
    parameters: dict[str, Any]
    loader: Loader
    validation: Loader | None
    model: torch.nn.Module
    replica: torch.nn.Module
    optimizer: torch.optim.Optimizer
    criterion: Criterion
    precision: Precision
    step: TrainStep
    batches_per_step: int
    transfer: DeviceTransfer
    remarks: tuple[str, ...] = ()

    def kept(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Bring a batch to the device, without the images that only pad it."""
        images, labels = self.transfer(batch)
        count = len(batch) - batch.padding
        return images[:count], labels[:count]


def make_parts(config: TrainConfig, group: Group, checkpoint: dict[str, Any] | None) -> Parts:
    """Make the parts, in the state of a checkpoint if there is one.

    Raises:
        UsageError: options that cannot be, or do not fit the checkpoint.
        DataError: damaged data, or other classes in validation than in training.
        MissingDependency: a loader's part is not installed.
    """
    import torch

    seed = _seed(config, group, checkpoint)
    loaders = loader_config(config, group, seed, _saved_lanes(config, group, checkpoint))
    loader = create_loader(config.data.loader, loaders)
    validation = _validation(config, loaders, loader)
    told = {
        **parameters(config, group, seed),
        "train_images": loader.image_count,
        "val_images": validation.image_count if validation else 0,
    }
    if checkpoint is not None and not config.skip_training:
        check_classes(checkpoint, loader)
    classes = config.model.num_classes or len(loader.classes)
    if classes < len(loader.classes):
        raise UsageError(f"The data has {len(loader.classes)} classes, not {classes}.")
    torch.manual_seed(seed)  # the same first weights on every rank
    remarks = [
        *loader.remarks,
        *(validation.remarks if validation else ()),
        *config.precision.check(),
    ]
    model = _model(config, classes, checkpoint, remarks.append).to(group.device)
    if config.channels_last:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    _check_smallest_batch(config, model, loader)
    optimizer = create_optimizer(model, config.optimizer, learning_rate(config.lr, 0))
    criterion = Criterion(config.loss, classes)
    precision = Precision(config.precision, group.device)
    if checkpoint is not None:
        restore_optimizer(checkpoint, optimizer, config.optimizer)
        restore_precision(checkpoint, precision)
        remarks += changes(checkpoint, told, loader)
    replica = group.wrap(cast("torch.nn.Module", torch.compile(model)) if config.compile else model)
    return Parts(
        seed=seed,
        parameters=told,
        loader=loader,
        validation=validation,
        model=model,
        replica=replica,
        optimizer=optimizer,
        criterion=criterion,
        precision=precision,
        step=TrainStep(replica, criterion, optimizer, precision),
        batches_per_step=_batches_per_step(config, group),
        transfer=DeviceTransfer(group.device, config.data.train.output),
        remarks=tuple(remarks),
    )


def loader_config(config: TrainConfig, group: Group, seed: int, lanes: int | None) -> LoaderConfig:
    """Return the configuration of this rank's training loader: with what only the loop knows."""
    train = config.data.train
    # A GPU normalises bytes faster than they could be sent as floats.
    output = replace(
        train.output, normalized=group.device.type == "cpu", channels_last=config.channels_last
    )
    return replace(
        train,
        output=output,
        seed=seed,
        rank=group.rank,
        world_size=group.world_size,
        lanes=lanes,
        classes=train.classes or _synthetic_classes(config),
        device_id=group.device.index or 0,
    )


def _seed(config: TrainConfig, group: Group, checkpoint: dict[str, Any] | None) -> int:
    if config.seed is not None:
        if not seed_fits(config.seed):
            raise UsageError(f"--seed must be at least -2**63 and below 2**64, not {config.seed}.")
        return config.seed
    return int(checkpoint["seed"]) if checkpoint else group.from_first(secrets.randbits(31))


def _saved_lanes(
    config: TrainConfig, group: Group, checkpoint: dict[str, Any] | None
) -> int | None:
    """Return the lanes that are asked for, else those of the resumed run.

    They keep its steps what they were, on another number of ranks too.
    """
    train = config.data.train
    if train.lanes is not None or checkpoint is None:
        return train.lanes
    lanes = checkpoint["loader"].get("lanes")
    fits = isinstance(lanes, int) and lanes > 0
    return lanes if fits and train.batch_size * group.world_size % lanes == 0 else None


def _synthetic_classes(config: TrainConfig) -> tuple[str, ...] | None:
    """Return the classes of images that no dataset stands behind."""
    if config.data.train.synthetic_images is None or not config.model.num_classes:
        return None
    return tuple(str(label) for label in range(config.model.num_classes))


def _validation(config: TrainConfig, loaders: LoaderConfig, loader: Loader) -> Loader | None:
    """Return the loader of validation data, which must have the classes of the training data."""
    data = config.data
    if data.val is None and data.val_synthetic_images is None:
        return None
    wanted = replace(
        loaders,
        classes=loader.classes,
        scans=data.val_scans,
        throttle=None,
        synthetic_images=data.val_synthetic_images,
    )
    validation = create_validation_loader(wanted, data.val or data.train.data)
    if validation.classes != loader.classes:
        raise DataError(
            f"{data.val} has other classes ({len(validation.classes)}) than {data.train.data} "
            f"({len(loader.classes)}): convert both in one go, as train/ and val/ of one folder."
        )
    return validation


def _model(
    config: TrainConfig,
    classes: int,
    checkpoint: dict[str, Any] | None,
    tell: Callable[[str], None],
) -> torch.nn.Module:
    for size_px in config.sizes_px:
        check_image_size(config.model.arch, size_px)
    if checkpoint is not None and checkpoint["arch"] != canonical_arch(config.model.arch):
        raise UsageError(
            f"The checkpoint holds a {checkpoint['arch']}, but --arch is {config.model.arch}."
        )
    weights = None if checkpoint is not None else config.model.pretrained_weights
    wanted = replace(config.model, num_classes=classes, pretrained_weights=weights)
    model = create_model(wanted, tell)
    if config.model.arch.startswith(TORCHVISION):
        for size_px in config.sizes_px:
            check_takes_images(model, config.model.arch, size_px)
    if checkpoint is not None:
        try:
            model.load_state_dict(checkpoint["model"])
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UsageError(f"The checkpoint does not fit this model: {reason}") from error
    return model


def _check_smallest_batch(config: TrainConfig, model: torch.nn.Module, loader: Loader) -> None:
    """Refuse batches of one image for a network whose batch norm needs two. Raises UsageError."""
    if config.skip_training or loader.order.lanes.smallest_batch > 1:
        return
    image_px = min(config.sizes_px)
    if not needs_two_images(model, image_px):
        return
    which = "the last batch of an epoch" if config.data.train.batch_size > 1 else "each batch"
    raise UsageError(
        f"Batch norm of {config.model.arch} needs two images in a batch at {image_px} pixels, and "
        f"{which} would have one: choose another --batch-size, --tail drop, or a larger "
        "--image-size."
    )


def _batches_per_step(config: TrainConfig, group: Group) -> int:
    """Return how many batches make a step of the optimiser."""
    together = config.data.train.batch_size * group.world_size
    wanted = config.optimizer_batch_size
    if wanted is None or wanted == together:
        return 1
    if wanted < together or wanted % together:
        raise UsageError(
            f"--optimizer-batch-size must be a multiple of the {together} images that all ranks "
            f"load together, not {wanted}."
        )
    return wanted // together
