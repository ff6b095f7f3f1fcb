#!/usr/bin/env python3
"""PCR in a LightningDataModule, watched.

    scripts/examples/lightning_module.py DATASET [--scans K] [--epochs N]

It needs `pip install lightning`. The sampler does what Lightning's distributed sampler would, so
the Trainer is told `use_distributed_sampler=False`.
"""

import argparse
from typing import Any

import lightning
import torch
from torch.utils.data import DataLoader

import dl2cli
from dl2cli.loaders import PcrDataset, RecordBatchSampler

SIZE = 64


def to_float(image: torch.Tensor) -> torch.Tensor:
    """Turn a uint8 image (3, H, W) into a float one of SIZE pixels."""
    return torch.nn.functional.interpolate(image[None].float() / 255, (SIZE, SIZE))[0]


class PcrDataModule(lightning.LightningDataModule):
    """Gives the training images of a PCR dataset at fidelity `scans`."""

    def __init__(self, path: str, scans: int | None, batch_size: int, workers: int) -> None:
        super().__init__()
        self.dataset = PcrDataset(path, scans=scans, transform=to_float)
        self.batch_size, self.workers = batch_size, workers

    def train_dataloader(self) -> Any:
        """Return the loader of this rank; Lightning calls `set_epoch` of its batch sampler."""
        assert self.trainer is not None
        sampler = RecordBatchSampler(
            self.dataset,
            batch_size=self.batch_size,
            workers=max(self.workers, 1),
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )
        loader = DataLoader(self.dataset, batch_sampler=sampler, num_workers=self.workers)
        return dl2cli.watch(loader, live=True)


class Classifier(lightning.LightningModule):
    """A small network."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.model = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(), torch.nn.Linear(256, classes),
        )  # fmt: skip

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the loss of a batch."""
        images, labels = batch
        loss = torch.nn.functional.cross_entropy(self.model(images), labels)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--scans", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    data = PcrDataModule(options.dataset, options.scans, options.batch_size, options.workers)
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    trainer.fit(Classifier(len(data.dataset.classes)), data)
    print(f"epoch {options.epochs}: loss {trainer.callback_metrics['loss'].item():.3f}")


if __name__ == "__main__":
    main()
