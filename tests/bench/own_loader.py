"""Loaders as users have them, for `--loader own_loader:NAME`; PHOTOS names an ImageFolder."""

import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

not_callable = 3


class Photos(Dataset):
    def __init__(self) -> None:
        self.files = sorted(Path(os.environ["PHOTOS"]).rglob("*.jpg"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            pixels = np.array(image.convert("RGB").resize((32, 32)))
        time.sleep(0.02)
        return torch.from_numpy(pixels).permute(2, 0, 1), 7


class Broken(Photos):
    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        raise KeyError("no such photo")


def make_slow() -> DataLoader:
    return DataLoader(Photos(), 4)


def make_broken() -> DataLoader:
    return DataLoader(Broken(), 4)


def make_broken_in_worker() -> DataLoader:
    return DataLoader(Broken(), 4, num_workers=1)


def fail() -> None:
    raise RuntimeError("not today")


def give_dicts():
    """Yield what other loaders give: a dict, an array, channels last."""
    yield {"image": np.zeros((5, 6, 8, 3), np.uint8), "label": np.arange(5)}
    yield {"image": np.zeros((2, 6, 8, 3), np.uint8), "label": np.arange(2)}


def give_words():
    yield ["a", "b"]


def give_nothing():
    return []


def give_a_number():
    return 3


class nested:  # noqa: N801
    factory = staticmethod(give_dicts)
