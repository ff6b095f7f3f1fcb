#!/usr/bin/env python3
"""PCR in the Trainer of Hugging Face, watched.

    scripts/examples/hugging_face_trainer.py DATASET [--scans K] [--epochs N]

It needs `pip install transformers accelerate`. The Trainer prepares its loader with accelerate, so
`watch` goes around what it returns.
"""

import argparse
import tempfile
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

import dl2cli
from dl2cli.loaders import PcrDataset, RecordBatchSampler

SIZE = 64


def to_float(image: torch.Tensor) -> torch.Tensor:
    """Turn a uint8 image (3, H, W) into a float one of SIZE pixels."""
    return torch.nn.functional.interpolate(image[None].float() / 255, (SIZE, SIZE))[0]


def collate(samples: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
    """Return a batch under the names that models of transformers take."""
    images, labels = zip(*samples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.tensor(labels)}


class Classifier(torch.nn.Module):
    """A small network with the outputs that the Trainer expects; any model of theirs will do."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 16, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
            torch.nn.Flatten(), torch.nn.Linear(256, classes),
        )  # fmt: skip

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return loss and logits."""
        logits = self.layers(pixel_values)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


class WatchedTrainer(Trainer):
    """A Trainer that reads records whole, and says what it waits for."""

    def get_train_dataloader(self) -> Any:
        """Return the loader of this rank: the sampler cuts the epoch, so accelerate must not."""
        args = self.args
        sampler = RecordBatchSampler(
            self.train_dataset,
            batch_size=args.per_device_train_batch_size,
            workers=max(args.dataloader_num_workers, 1),
            rank=args.process_index,
            world_size=args.world_size,
        )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=sampler,
            num_workers=args.dataloader_num_workers,
            collate_fn=self.data_collator,
        )
        return dl2cli.watch(loader, live=True)


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--scans", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()
    dataset = PcrDataset(options.dataset, scans=options.scans, transform=to_float)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=options.epochs,
            per_device_train_batch_size=options.batch_size,
            dataloader_num_workers=options.workers,
            learning_rate=0.01,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        trainer = WatchedTrainer(
            Classifier(len(dataset.classes)), arguments, collate, train_dataset=dataset
        )
        print(f"epoch {options.epochs}: loss {trainer.train().training_loss:.3f}")


if __name__ == "__main__":
    main()
