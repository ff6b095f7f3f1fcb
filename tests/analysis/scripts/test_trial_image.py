"""What the native core says of scans and states, against the transcoder and the slow metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jpegs import every_kind_of_jpeg, jpeg_bytes, photo
from PIL import Image
from random_scripts import scan_scripts

from dl2cli.analysis.fidelity.metrics import compare
from dl2cli.loaders.transform import TransformConfig, cut_out, place
from dl2cli.pcr.scan_script import BUILT_IN, DEFAULT, ScanScript, parse
from dl2cli_native import _core

PHOTOS = {
    "4:4:4": jpeg_bytes(photo(199, 181), quality=92, subsampling=0),
    "4:2:2": jpeg_bytes(photo(203, 177), quality=85, subsampling=1),
    "4:2:0": jpeg_bytes(photo(179, 190), quality=75, subsampling=2),
    "gray": jpeg_bytes(photo(180, 181, "L"), quality=95),
}


def states_of(script: ScanScript) -> np.ndarray:
    """What is known at the end of each group: uint8 (groups, 3, 64)."""
    known = np.full((3, 64), 11, np.uint8)
    states: list[np.ndarray] = []
    for scan in script.scans:
        known[list(scan.components), scan.ss : scan.se + 1] = scan.al
        if scan.joins:
            states.pop()
        states.append(known.copy())
    return np.array(states)


def measurable_kinds() -> dict[str, bytes]:
    kinds = every_kind_of_jpeg()
    return {name: jpeg for name, jpeg in kinds.items() if "cmyk" not in name and "ycck" not in name}


@pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)
def test_bytes_are_those_of_the_transcoder(script: ScanScript) -> None:
    for name, jpeg in {**PHOTOS, **measurable_kinds()}.items():
        check_bytes(name, jpeg, script)


def check_bytes(name: str, jpeg: bytes, script: ScanScript) -> None:
    image = _core.TrialImage(jpeg)
    lines = [(list(s.components), s.ss, s.se, s.ah, s.al) for s in script.scans]
    found = image.scan_bytes(lines)
    groups: list[int] = []
    for size, scan in zip(found, script.scans, strict=True):
        if scan.joins:
            groups[-1] += size
        else:
            groups.append(size)
    groups[0] += image.header_bytes
    fragments = _core.transcode(jpeg, script.native).fragments
    assert groups == [len(fragment) for fragment in fragments], name


@pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)
def test_pixels_are_those_of_each_prefix(script: ScanScript) -> None:
    for name, jpeg in {**PHOTOS, **measurable_kinds()}.items():
        check_pixels(name, jpeg, script)


def check_pixels(name: str, jpeg: bytes, script: ScanScript) -> None:
    image = _core.TrialImage(jpeg)
    fragments = _core.transcode(jpeg, script.native).fragments
    for k, state in enumerate(states_of(script), start=1):
        shown = image.show(state[None]).transpose(1, 2, 0)
        decoded = np.asarray(_core.decode(fragments[:k], codec="libjpeg"))
        assert np.array_equal(shown, decoded), (name, k)


@settings(max_examples=25)
@given(script=scan_scripts(), name=st.sampled_from(sorted(PHOTOS)))
def test_random_scripts(script: ScanScript, name: str) -> None:
    assert parse(script.text, script.name) == script
    check_bytes(name, PHOTOS[name], script)
    check_pixels(name, PHOTOS[name], script)


@pytest.mark.parametrize("name", PHOTOS)
def test_likeness_is_that_of_the_metrics(name: str) -> None:
    image = _core.TrialImage(PHOTOS[name])
    states = states_of(DEFAULT)
    whole = image.show(states[-1:]).transpose(1, 2, 0)
    for state, (squared, ssim, ms_ssim) in zip(states, image.compare(states), strict=True):
        shown = image.show(state[None]).transpose(1, 2, 0)
        if np.array_equal(shown, whole):
            assert (squared, ssim, ms_ssim) == (0, 1, 1)
            continue
        expected = compare(shown, whole)
        assert 10 * np.log10(255**2 / squared) == pytest.approx(expected.psnr_db, abs=1e-9)
        assert (ssim, ms_ssim) == pytest.approx((expected.ssim, expected.ms_ssim), abs=2e-5)


def test_the_training_size_is_that_of_an_evaluation() -> None:
    image = _core.TrialImage(PHOTOS["4:2:0"])
    whole = states_of(DEFAULT)[-1:]
    pixels = Image.fromarray(image.show(whole).transpose(1, 2, 0))
    config = TransformConfig(train=False, size=128)
    where = place(
        config, seed=0, epoch=0, samples=[0], widths=[pixels.width], heights=[pixels.height]
    )
    expected = np.asarray(cut_out(pixels, config, where))
    shown = image.show(whole, 128, 160).transpose(1, 2, 0)
    assert np.abs(shown.astype(int) - expected).max() <= 1  # Pillow may resize rows first


def test_errors_predict_the_squared_error_of_pixels() -> None:
    image = _core.TrialImage(PHOTOS["4:4:4"])
    states = states_of(BUILT_IN["rate"])
    table = image.errors().reshape(192, 12)
    pixels = image.width * image.height * image.components
    found = np.array([table[np.arange(192), s.reshape(192)].sum() / pixels for s in states])
    assert found[:-1] == pytest.approx(image.compare(states)[:-1, 0], rel=0.25, abs=0.8)
    assert found[-1] == 0


def test_what_cannot_be_measured_is_said() -> None:
    with pytest.raises(_core.DataError):
        _core.TrialImage(PHOTOS["4:4:4"][:-900])
    with pytest.raises(_core.UnsupportedError, match="CMYK"):
        _core.TrialImage(jpeg_bytes(photo(64, 64, "CMYK")))
    small = _core.TrialImage(jpeg_bytes(photo(9, 64)))
    with pytest.raises(ValueError, match="smaller than the window"):
        small.compare(states_of(DEFAULT))
    with pytest.raises(ValueError, match="no scan"):
        small.scan_bytes([([0], 0, 5, 0, 0)])
    with pytest.raises(ValueError, match="shape"):
        small.compare(np.zeros((1, 64), np.uint8))
