"""On a GPU: pinned batches, copies beside the computation, and what DALI decodes there."""

from dataclasses import replace
from importlib.util import find_spec

import pytest

torch = pytest.importorskip("torch")
from loader_batches import load  # noqa: E402

from dl2cli.loaders import OutputConfig, TransformConfig, create_loader  # noqa: E402
from dl2cli.loaders.device import DeviceTransfer  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
GPU = torch.device("cuda", 0)
BUSY_CYCLES = 50_000_000  # some 30 ms
needs_dali = pytest.mark.skipif(
    find_spec("nvidia") is None or find_spec("nvidia.dali") is None,
    reason="NVIDIA DALI is not installed",
)


@pytest.mark.parametrize("name", ["pcr", "pytorch", "synthetic"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_batches_arrive_intact_while_the_gpu_computes(name, channels_last, config, folder):
    """Memory that was reused too early, on either side, would show in some batch."""
    data = config.data if name == "pcr" else folder
    output = OutputConfig(channels_last=channels_last)
    wanted = replace(config, data=data, output=output, tail="pad")
    transfer = DeviceTransfer(GPU, output)
    seen = []
    for batch in create_loader(name, wanted):
        assert batch.images.is_pinned()
        assert batch.labels.is_pinned()
        torch.cuda._sleep(BUSY_CYCLES)
        images, labels = transfer(batch)
        assert images.device == labels.device == GPU
        seen.append((images.mul(2), labels.clone()))
    on_cpu = DeviceTransfer(torch.device("cpu"), output)
    batches = list(create_loader(name, replace(wanted, pin_memory=False)))
    for (images, labels), batch in zip(seen, batches, strict=True):
        assert not batch.images.is_pinned()
        expected, _ = on_cpu(batch)
        assert torch.allclose(images.cpu(), expected * 2, atol=1e-4)
        assert torch.equal(labels.cpu(), batch.labels)


def test_a_copy_does_not_wait_for_what_is_computed(config):
    transfer = DeviceTransfer(GPU, OutputConfig())
    batch = load(config)[0]
    transfer(batch)
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    torch.cuda._sleep(40 * BUSY_CYCLES)
    done.record()
    copied = transfer._copies.send((batch.images,))
    transfer._copies._stream.synchronize()
    assert not done.query()  # the copy is there, and the GPU still at work
    assert torch.equal(copied[0].cpu(), batch.images)


@needs_dali
@pytest.mark.parametrize("name", ["dali-gpu", "pcr-dali-gpu"])
@pytest.mark.parametrize("normalized", [False, True])
def test_dali_decodes_on_the_gpu_what_it_decodes_on_the_cpu(name, normalized, config, folder):
    """nvJPEG interpolates chroma in its own way: images agree on the whole, not to the last bit."""
    data = config.data if name.startswith("pcr") else folder
    output = OutputConfig(normalized=normalized)
    wanted = replace(
        config, data=data, output=output, tail="pad", transform=TransformConfig(size=40)
    )
    on_cpu = list(create_loader(name.removesuffix("-gpu"), wanted))
    seen = []
    for batch in create_loader(name, wanted):
        assert batch.images.device == batch.labels.device == GPU
        torch.cuda._sleep(BUSY_CYCLES)  # DALI is far ahead of what is done with its batches
        seen.append((batch.images.clone(), batch.labels.clone(), batch.ids))
    tolerance = 6 / 255 / 0.225 if normalized else 6
    for (images, labels, ids), batch in zip(seen, on_cpu, strict=True):
        assert (ids == batch.ids).all()
        assert torch.equal(labels.cpu(), batch.labels)
        difference = (images.cpu().float() - batch.images.float()).abs().mean(dim=(1, 2, 3))
        assert float(difference.median()) < tolerance
