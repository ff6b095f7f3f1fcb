"""`dl2 bench-io --decode`: how fast variants of a dataset decode to pixels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from dl2cli.cli.framework.options import refuse_given
from dl2cli.cli.framework.output import Output
from dl2cli.cli.framework.shared import image_progress, size
from dl2cli.errors import UsageError

if TYPE_CHECKING:
    from dl2cli.bench.decode import DecodingResult
    from dl2cli.cli.commands.bench_io import BenchOptions

_OTHERS = (
    "loader", "scans", "workers", "batch_size", "throttle", "arch", "compute_rate",
    "device", "amp", "compare", "what_if", "checks", "require_au", "csv", "plot",
)  # fmt: skip


def bench_decode(options: BenchOptions) -> None:
    """Measure decoding, and write the logs if asked to."""
    from dl2cli.bench.config import BenchConfig
    from dl2cli.bench.decode import decode_variants, write_logs
    from dl2cli.provenance import provenance

    refuse_given(options, _OTHERS, "does not go with --decode")
    if options.dataset is not None:
        raise UsageError("--decode names its datasets itself: leave out DATASET.")
    log = options.save_log
    if log is not None and log.is_file():
        raise UsageError(f"{log} is a file: with --decode, --save-log names a folder.")
    output = Output(json_mode=options.json)
    config = BenchConfig(
        data=Path(), repeat=options.repeat, sample_images=options.sample, seed=options.seed
    )
    with image_progress(output, "Decoding, rounds") as tell:
        result = decode_variants(config, options.decode, tell)
    if log is not None:
        write_logs(config, result, log)
    configuration = (config, options.decode)
    output.result(result, *_render(result), provenance=lambda: provenance(configuration))


def _render(result: DecodingResult) -> list[Table | Text]:
    table = Table(
        title=f"Decoding {result.images:,} images by one thread, {result.rounds} rounds in turn"
    )
    table.add_column("variant")
    for heading in ("bytes", "bpp", "images/s", "from", "to", "CPU ms"):
        table.add_column(heading, justify="right")
    for each in result.variants:
        rate = each.rate_img_s
        table.add_row(
            each.name,
            size(each.bytes_per_image),
            f"{each.bits_per_pixel:.3f}",
            f"{rate.median:,.0f}",
            f"{rate.low:,.0f}",
            f"{rate.high:,.0f}",
            f"{each.cpu_s * 1e3:.2f}",
        )
    noisy = any(each.rate_img_s.noisy for each in result.variants)
    return [table, *([Text("The machine is noisy: compare the CPU times.")] if noisy else [])]
