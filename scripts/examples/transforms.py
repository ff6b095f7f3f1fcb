#!/usr/bin/env python3
"""PCR with the transforms of torchvision (v2) or albumentations.

    scripts/examples/transforms.py DATASET [--library torchvision|albumentations] [--scans K]

`PcrDataset` gives a transform what it takes: a uint8 tensor (3, H, W), which torchvision's v2 works
on directly, or with `output="pil"` a Pillow image, of which albumentations takes the array.
"""

import argparse
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

import dl2cli
from dl2cli.loaders import PcrDataset, RecordBatchSampler

SIZE = 64


def torchvision_dataset(path: str, scans: int | None) -> PcrDataset:
    """Return a dataset with torchvision's usual training transform."""
    import torch
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.TrivialAugmentWide(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return PcrDataset(path, scans=scans, transform=transform)


class Albumented:
    """Calls a transform of albumentations with the array of a Pillow image."""

    def __init__(self) -> None:
        import albumentations
        from albumentations.pytorch import ToTensorV2

        self.pipeline = albumentations.Compose(
            [
                albumentations.RandomResizedCrop((SIZE, SIZE)),
                albumentations.HorizontalFlip(),
                albumentations.ColorJitter(),
                albumentations.Normalize(),
                ToTensorV2(),
            ]
        )

    def __call__(self, image: Any) -> Any:
        """Return the tensor that the pipeline makes of a Pillow image."""
        return self.pipeline(image=np.asarray(image))["image"]


def albumentations_dataset(path: str, scans: int | None) -> PcrDataset:
    """Return a dataset with a transform of albumentations."""
    return PcrDataset(path, scans=scans, transform=Albumented(), output="pil")


MAKERS = {"torchvision": torchvision_dataset, "albumentations": albumentations_dataset}


def main() -> None:
    """Load an epoch."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dataset")
    parser.add_argument("--library", choices=MAKERS, default="torchvision")
    parser.add_argument("--scans", type=int)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    dataset = MAKERS[options.library](options.dataset, options.scans)
    sampler = RecordBatchSampler(dataset, batch_size=8, workers=max(options.workers, 1))
    loader = DataLoader(dataset, batch_sampler=sampler, num_workers=options.workers)
    with dl2cli.watch(loader, live=True) as watched:
        for epoch in range(options.epochs):
            sampler.set_epoch(epoch)
            for images, _ in watched:
                assert images.shape[1:] == (3, SIZE, SIZE)
            print(f"epoch {epoch + 1}: {images.mean().item():.3f} is the mean of its last batch")


if __name__ == "__main__":
    main()
