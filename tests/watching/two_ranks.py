"""A rank of a training whose rank 1 has a slow transform: two_ranks.py LOG_FOLDER."""

import sys
import time

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

import dl2cli


class Photos(Dataset):
    def __init__(self, slow_s: float) -> None:
        self.slow_s = slow_s

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(self.slow_s)
        return torch.zeros(3, 8, 8)


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    slow = dist.get_rank() == 1
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(192, 2))
    loader = dl2cli.watch(DataLoader(Photos(0.02 if slow else 0.0), 4), log=sys.argv[1])
    for _ in range(2):
        for images in loader:
            model(images.flatten(1)).sum().backward()
    loader.stop_watching()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
