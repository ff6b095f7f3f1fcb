from pathlib import Path

import pytest
from jpegs import jpeg_bytes, photo


@pytest.fixture(scope="session")
def mixed_photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder of a few small photos of many kinds."""
    root = tmp_path_factory.mktemp("mixed") / "photos"
    for i in range(10):
        folder = root / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        mode = "L" if i == 4 else "CMYK" if i == 7 else "RGB"
        image = photo(90 + 7 * i, 130 - 5 * i, mode, seed=i)
        if i == 5:
            image.save(folder / f"{i}.png")
        else:
            jpeg = jpeg_bytes(image, quality=70 + 3 * i, subsampling=i % 3)
            (folder / f"{i}.jpg").write_bytes(jpeg[: 500 if i == 9 else None])
    return root
