"""The log of a conversion to a variant, in the form of the published codec logs.

`enc-mp-jpeg-10/encode.json` has `dataset` (the source), `total_time` (s), and for each image that
was encoded `enc_times` (s) and `bpp` (bits a pixel), as published; further keys stand behind them:

* `ms_ssim` and `psnr_db` of the sample that was measured (null for equal pixels);
* `images`, `copied`, `bytes` and `pixels`: totals of the variant, copies included;
* `shared_pass`: how many variants were encoded in the same pass, whose time `total_time` is;
* `provenance`: dl2cli/provenance.py.
"""

from __future__ import annotations

import json
from pathlib import Path

from dl2cli.output_file import write_output
from dl2cli.provenance import provenance
from dl2cli.variants.config import VariantsConfig
from dl2cli.variants.state import State


def log_file(folder: Path, name: str) -> Path:
    """Return where the log of a variant is, by its name."""
    return folder / f"enc-mp-{name}" / "encode.json"


def write_log(path: Path, config: VariantsConfig, state: State, *, shared: int) -> None:
    """Write the log of one variant. Raises StorageError."""
    images, copied, size, pixels, _, _ = state.totals()
    encoded = list(state.encoded())
    measured = state.measured()
    document = {
        "dataset": str(config.source.absolute()).encode("utf-8", "backslashreplace").decode(),
        "total_time": state.settings().get("seconds", 0.0),
        "enc_times": [seconds for seconds, _ in encoded],
        "bpp": [bits for _, bits in encoded],
        "ms_ssim": [alike for alike, _ in measured],
        "psnr_db": [decibels for _, decibels in measured],
        "images": images,
        "copied": copied,
        "bytes": size,
        "pixels": pixels,
        "shared_pass": shared,
        "provenance": provenance(config, data=config.source),
    }
    write_output(path, json.dumps(document, allow_nan=False).encode())
