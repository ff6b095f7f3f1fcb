import os
import sqlite3
from dataclasses import replace

import pytest
from jpegs import jpeg_bytes, photo

from dl2cli import pcr
from dl2cli.errors import UsageError
from dl2cli.pcr.config import ConvertConfig
from dl2cli.pcr.convert import convert
from dl2cli.pcr.verify import verify


@pytest.fixture
def dataset(config: ConvertConfig) -> pcr.Dataset:
    photo().save(config.source / "ant" / "other.png")
    convert(config)
    return pcr.open(config.out)


def test_a_whole_dataset_is_proved_lossless(dataset: pcr.Dataset, config: ConvertConfig) -> None:
    seen: list[tuple[int, int]] = []
    result = verify(dataset, config.source, 2, lambda *counts: seen.append(counts))
    assert result.damage == ()
    assert (result.images, result.proved_lossless, result.not_comparable) == (22, 21, 1)
    assert seen[-1] == (22, 22)
    assert verify(dataset).proved_lossless == 0


def test_images_above_the_users_limit_are_no_damage(
    dataset: pcr.Dataset, config: ConvertConfig
) -> None:
    result = verify(dataset, config.source, max_pixels=1)
    assert result.damage == ()
    assert (result.images, result.too_large, result.proved_lossless) == (0, 22, 0)


def test_damage_is_found_and_the_rest_is_checked(dataset: pcr.Dataset) -> None:
    first, second = (dataset.path / dataset.records[i].file for i in (0, 1))
    damaged = bytearray(first.read_bytes())
    damaged[-10] ^= 4
    first.write_bytes(damaged)
    second.write_bytes(second.read_bytes() + b"more")
    result = verify(dataset)
    assert [(d.record, d.slot) for d in result.damage] == [("PCR_0.db", None), ("PCR_1.db", None)]
    assert "scan group 10: wrong checksum" in result.damage[0].reason
    assert "4 bytes" not in result.damage[1].reason
    assert "the index says" in result.damage[1].reason
    assert result.images == 18


def test_changed_and_missing_sources_are_told_apart(
    dataset: pcr.Dataset, config: ConvertConfig
) -> None:
    (config.source / "ant" / "0.jpg").write_bytes(jpeg_bytes(photo(seed=99)))
    (config.source / "bee" / "1.jpg").unlink()
    found = {d.source: d.reason for d in verify(dataset, config.source).damage}
    assert found.keys() == {"ant/0.jpg", "bee/1.jpg"}
    assert "has changed" in found["ant/0.jpg"]
    assert "cannot be read" in found["bee/1.jpg"]


def test_an_image_that_is_not_its_source_is_found(config: ConvertConfig) -> None:
    """Two sources change places after the conversion, checksums and all."""
    convert(config)
    dataset = pcr.open(config.out)
    other = replace(config, out=config.out.with_name("other"))
    one, two = config.source / "ant" / "0.jpg", config.source / "ant" / "1.jpg"
    content = one.read_bytes(), two.read_bytes()
    one.write_bytes(content[1])
    two.write_bytes(content[0])
    convert(other)
    # The provenance of the swapped conversion, beside the records of the first one.
    (other.out / "PCR_sources.db").replace(config.out / "PCR_sources.db")
    reasons = {d.source: d.reason for d in verify(dataset, config.source).damage}
    assert reasons.keys() == {"ant/0.jpg", "ant/1.jpg"}
    assert all(reason.startswith("not lossless") for reason in reasons.values())


def test_without_provenance_there_is_nothing_to_compare_with(
    dataset: pcr.Dataset, config: ConvertConfig
) -> None:
    (dataset.path / "PCR_sources.db").unlink()
    with pytest.raises(UsageError, match="where its images came from"):
        verify(dataset, config.source)
    with pytest.raises(UsageError, match="not a folder"):
        verify(dataset, config.source / "nowhere")
    assert verify(dataset).damage == ()


def test_images_of_unknown_source_are_no_proof(dataset: pcr.Dataset, config: ConvertConfig) -> None:
    connection = sqlite3.connect(dataset.path / "PCR_sources.db")
    with connection:
        connection.execute("DELETE FROM sources WHERE record = 1")
    connection.close()
    (found,) = verify(dataset, config.source).damage
    assert (found.record, found.slot) == ("PCR_1.db", None)
    assert "knows 0 of its 4 images" in found.reason


def test_a_source_that_is_a_fifo_now_is_not_waited_for(
    dataset: pcr.Dataset, config: ConvertConfig
) -> None:
    source = config.source / "ant" / "0.jpg"
    source.unlink()
    os.mkfifo(source)
    (found,) = verify(dataset, config.source).damage
    assert (found.source, found.reason) == (
        "ant/0.jpg",
        "its source has changed since the conversion",
    )


def test_a_record_that_the_system_does_not_read_is_listed_with_the_rest(
    dataset: pcr.Dataset,
) -> None:
    """Too many links stand for any refusal, a disk that fails for one; root meets them, too."""
    record = dataset.path / dataset.records[1].file
    record.unlink()
    record.symlink_to(record.name)
    result = verify(dataset)
    (found,) = result.damage
    assert found.record == record.name
    assert "symbolic links" in found.reason
    assert result.images == 22 - dataset.records[1].images
