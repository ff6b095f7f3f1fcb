"""Batches on a device; what a GPU does is in test_gpu.py."""

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from loader_batches import load  # noqa: E402

from dl2cli.loaders import OutputConfig  # noqa: E402
from dl2cli.loaders.base import should_pin  # noqa: E402
from dl2cli.loaders.device import DeviceTransfer  # noqa: E402

CPU = torch.device("cpu")


@pytest.mark.parametrize("channels_last", [False, True])
def test_bytes_are_normalised_on_the_device_as_the_loader_would(config, channels_last):
    output = OutputConfig(channels_last=channels_last, mean=(0.1, 0.5, 0.9), std=(0.2, 0.3, 0.4))
    batch = load(replace(config, output=output))[0]
    images, labels = DeviceTransfer(CPU, output)(batch)
    wanted = load(replace(config, output=replace(output, normalized=True)))[0].images
    assert torch.allclose(images, wanted, atol=1e-5)
    assert images.stride() == wanted.stride()
    assert torch.equal(labels, batch.labels)
    assert batch.images.dtype == torch.uint8  # the batch itself stays what it was


def test_images_that_are_normalised_stay_as_they_are(config):
    output = OutputConfig(normalized=True)
    batch = load(replace(config, output=output))[0]
    images, _ = DeviceTransfer(CPU, output)(batch)
    assert images is batch.images


def test_memory_is_pinned_where_there_is_a_gpu(config):
    assert should_pin(config) == torch.cuda.is_available()
    assert not should_pin(replace(config, pin_memory=False))
