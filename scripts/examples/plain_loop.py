#!/usr/bin/env python3
"""PCR in a plain PyTorch loop: your own transform, your own DataLoader, and what it waits for.

    scripts/examples/plain_loop.py DATASET [--scans K] [--epochs N] [--workers N]

DATASET is a PCR dataset, as `dl2 convert` makes it. `RecordBatchSampler` keeps the images of a
record together, so that each record is read once an epoch; with several ranks it takes `rank` and
`world_size`.
"""

import argparse

import torch
from torch.utils.data import DataLoader

import dl2cli
from dl2cli.loaders import PcrDataset, RecordBatchSampler

SIZE = 64


def augment(image: torch.Tensor) -> torch.Tensor:
    """Turn a uint8 image (3, H, W) into a float one of SIZE pixels, mirrored half the time."""
    image = torch.nn.functional.interpolate(image[None].float() / 255, (SIZE, SIZE))[0]
    return image.flip(2) if torch.rand(()) < 0.5 else image


def main() -> None:
    """Train a small network."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--scans", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    options = parser.parse_args()

    dataset = PcrDataset(options.dataset, scans=options.scans, transform=augment)
    sampler = RecordBatchSampler(
        dataset, batch_size=options.batch_size, workers=max(options.workers, 1)
    )
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=options.workers)

    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(4),
        torch.nn.Flatten(), torch.nn.Linear(256, len(dataset.classes)),
    )  # fmt: skip
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with dl2cli.watch(loader, live=True) as watched:  # the one line that says what it waits for
        for epoch in range(options.epochs):
            sampler.set_epoch(epoch)
            for images, labels in watched:
                loss = torch.nn.functional.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
