"""Write the seeds of a fuzz target: `fuzz_seeds.py fuzz_jpeg|fuzz_record FOLDER`."""

import sys
import tempfile
from pathlib import Path

from jpegs import every_kind_of_jpeg

from dl2cli import pcr
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert


def record_parts(images: dict[str, bytes]) -> dict[str, bytes]:
    """Convert the images and return each part of the record file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "in" / "a").mkdir(parents=True)
        for name, content in images.items():
            (root / "in" / "a" / f"{name}.jpg").write_bytes(content)
        convert(ConvertConfig(root / "in", root / "out"))
        info = pcr.open(root / "out").records[0]
        content = (root / "out" / info.file).read_bytes()
    parts, at = {}, 0
    for number, length in enumerate(info.lengths):
        parts[f"part{number}"] = content[at : at + length]
        at += length
    return parts


def main() -> None:
    """Write one file a seed."""
    target, folder = sys.argv[1], Path(sys.argv[2])
    seeds = every_kind_of_jpeg()
    if target == "fuzz_record":
        small = {name: seeds[name] for name in ("gray", "one_pixel", "one_line")}
        seeds = record_parts(small)
    for name, content in seeds.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
