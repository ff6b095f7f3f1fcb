"""A Ctrl-C that cannot be obeyed at once is answered."""

import signal
import subprocess
import sys

import pytest

from dl2cli.cli.train.time import cpu_warning

# Python's handler does nothing, as if the main thread were within native code.
PROGRAM = """
import signal, sys, threading
from dl2cli.cli.framework.interrupt import answer_interrupts
heard = threading.Event()
def say():
    print("heard", flush=True)
    heard.set()
signal.signal(signal.SIGINT, lambda *_: None)
answer_interrupts(say)
print("ready", flush=True)
sys.exit(0 if heard.wait(60) else 1)
"""


def test_a_word_that_it_was_heard() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "heard\n"
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arch", "size", "images", "epochs", "words"),
    [
        ("resnet50", 224, 300, 90, "about 5 hours for 90 epochs of 300 images"),
        ("resnet50", 224, 1_281_167, 90, "about 819 days"),
        ("resnet18", 224, 10_000, 1, "about 45 minutes for 1 epoch"),
    ],
)
def test_a_cpu_that_takes_long(arch: str, size: int, images: int, epochs: int, words: str) -> None:
    text = cpu_warning(arch, size, images, epochs, 2)
    assert text is not None
    assert words in text
    assert "--arch small_cnn --image-size 64" in text


def test_a_cpu_that_is_fast_enough() -> None:
    assert cpu_warning("small_cnn", 64, 300, 30, 2) is None
    assert cpu_warning("resnet50", 224, 300, 1, 2) is None
    assert cpu_warning("torchvision:vit_b_16", 224, 10**6, 90, 2) is None
