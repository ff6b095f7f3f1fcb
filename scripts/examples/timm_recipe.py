#!/usr/bin/env python3
"""PCR in timm's recipe: its loader, transforms, model, optimiser and schedule, as in its train.py.

    scripts/examples/timm_recipe.py DATASET [--scans K] [--epochs N] [--model resnet10t]

It needs `pip install timm`, and so torchvision. timm's `create_loader` sets the dataset's
transform, which takes Pillow images. Its sampler mixes all images, so give the dataset room for
many records, or use plain_loop.py's sampler where records are many. `-inc1`, which timm's own
recipes append to `auto_augment`, makes timm 1.0.31 ask for a posterisation that Pillow 13 refuses.
"""

import argparse

import timm
import torch
from timm.data import Mixup, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler

import dl2cli
from dl2cli.loaders import PcrDataset

SIZE = 64


def main() -> None:
    """Train as timm's train.py does."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--scans", type=int)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--model", default="resnet10t")
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    dataset = PcrDataset(options.dataset, scans=options.scans, output="pil", records_in_memory=1000)
    loader = create_loader(
        dataset,
        input_size=(3, SIZE, SIZE),
        batch_size=options.batch_size,
        is_training=True,
        auto_augment="rand-m9-mstd0.5",
        re_prob=0.25,
        num_workers=options.workers,
        use_prefetcher=device.type == "cuda",
        persistent_workers=False,
    )
    classes = len(dataset.classes)
    mixup = Mixup(mixup_alpha=0.2, num_classes=classes)
    model = timm.create_model(options.model, num_classes=classes).to(device)
    optimizer = create_optimizer_v2(model, opt="lamb", lr=5e-3, weight_decay=0.02)
    schedule = CosineLRScheduler(optimizer, t_initial=options.epochs)
    criterion = SoftTargetCrossEntropy()
    with dl2cli.watch(loader, live=True) as watched:
        for epoch in range(options.epochs):
            for images, labels in watched:
                mixed, targets = mixup(images.to(device), labels.to(device))
                loss = criterion(model(mixed), targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            schedule.step(epoch + 1)
            print(f"epoch {epoch + 1}: loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
