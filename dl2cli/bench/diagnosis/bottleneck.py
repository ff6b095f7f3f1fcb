"""Which stage bounds the training, and by how much, in one sentence."""

from __future__ import annotations

from dataclasses import dataclass

from dl2cli.bench.diagnosis.stalls import Stalls
from dl2cli.bench.model.rates import Gains

STAGES = {"storage": "storage", "prep": "decoding", "compute": "the model's computing"}


@dataclass(frozen=True)
class Verdict:
    """The answer.

    Attributes:
        bound: "storage", "prep" or "compute": the stage that, if it cost nothing, would gain most.
        sentence: the answer in words.
        rate_img_s: images/s of the target, as measured.
        gains: what throughput would be multiplied by if a stage cost nothing.
        au: accelerator utilisation, 0 to 1.
        certain: whether the gain is larger than the differences between runs.
    """

    bound: str
    sentence: str
    rate_img_s: float
    gains: Gains
    au: float
    certain: bool


def find_bottleneck(
    name: str,
    rate_img_s: float,
    stalls: Stalls,
    gains: Gains,
    *,
    noise: float,
    data_img_s: float,
) -> Verdict:
    """Name the stage that bounds the training.

    Args:
        name: the target and the condition it was measured in.
        rate_img_s: images/s of the target, as measured.
        stalls: the measured stalls.
        gains: what the model expects if a stage cost nothing.
        noise: the relative difference between runs.
        data_img_s: images/s of the data path when compute costs nothing.
    """
    bound = gains.bound
    if bound == "storage":
        text = f"Bottleneck: storage. {name} gives {rate_img_s:.0f} images/s, and would give "
        text += f"{rate_img_s * gains.storage:.0f} ({gains.storage:.1f} times as many) from memory"
    elif bound == "prep":
        text = f"Bottleneck: decoding. {name} gives {rate_img_s:.0f} images/s, and would give "
        text += f"{rate_img_s * gains.prep:.0f} ({gains.prep:.1f} times as many) if decoding cost "
        text += "nothing"
    else:
        text = f"Bottleneck: compute. {name} gives {rate_img_s:.0f} images/s, the data path alone "
        text += f"could give {data_img_s:.0f} ({data_img_s / rate_img_s:.1f} times as many)"
    _, prep, fetch = stalls.shares
    text += f"; of an image's time, {fetch:.0%} is fetch stall and {prep:.0%} prep stall."
    certain = bound == "compute" or max(gains.storage, gains.prep) - 1 > noise
    return Verdict(bound, text, rate_img_s, gains, stalls.au, certain)
