import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jpegs import jpeg_bytes, jpegtran, photo

from dl2cli.errors import UsageError
from dl2cli.pcr import scan_script
from dl2cli.pcr.scan_script import BUILT_IN, DEFAULT, SPECTRAL, load, parse
from dl2cli_native import _core


def test_default_script_is_jpegtrans_own() -> None:
    ours = _core.transcode(jpeg_bytes(photo()), DEFAULT.native)
    theirs = jpegtran(jpeg_bytes(photo()), "-progressive")
    assert b"".join(ours.fragments) + b"\xff\xd9" == theirs


@pytest.mark.parametrize("script", [DEFAULT, SPECTRAL], ids=lambda s: s.name)
def test_jpegtran_reads_our_scripts_and_writes_the_same_bytes(
    script: scan_script.ScanScript, tmp_path: Path
) -> None:
    file = tmp_path / "script.txt"
    file.write_text(script.text)
    theirs = jpegtran(jpeg_bytes(photo()), "-scans", str(file))
    ours = _core.transcode(jpeg_bytes(photo()), script.native)
    assert b"".join(ours.fragments) + b"\xff\xd9" == theirs


@pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)
def test_a_line_of_several_components_is_a_group_of_a_scan_each(
    script: scan_script.ScanScript, tmp_path: Path
) -> None:
    """jpegtran wants a line for each scan; its file is ours, and our groups hold its scans."""
    lines: list[list[str]] = []
    for scan in script.scans:
        alone = [(component,) for component in scan.components] if scan.ss else [scan.components]
        own = [str(replace(scan, components=each, joins=False)) for each in alone]
        if scan.joins:
            lines[-1] += own
        else:
            lines.append(own)
    file = tmp_path / "script.txt"
    file.write_text("\n".join(line for group in lines for line in group))
    theirs = jpegtran(jpeg_bytes(photo()), "-scans", str(file))
    fragments = _core.transcode(jpeg_bytes(photo()), script.native).fragments
    assert b"".join(fragments) + b"\xff\xd9" == theirs
    ends = [0, *itertools.accumulate(map(len, lines))]
    offsets = _core.find_scans(theirs)
    assert [len(each) for each in fragments] == [
        offsets[b] - offsets[a] for a, b in itertools.pairwise(ends)
    ]


@pytest.mark.parametrize("script", BUILT_IN.values(), ids=lambda s: s.name)
def test_text_and_script_are_the_same_thing(script: scan_script.ScanScript) -> None:
    assert parse(script.text, script.name) == script


def test_a_line_with_a_plus_joins_the_group_before_it() -> None:
    text = "0,1,2: 0-0,0,0; 0: 1-5,0,0; + 1,2: 1-63,0,0; +0:6-63 0 0;"
    script = parse(text, "joined")
    assert script.groups == 2
    assert parse(script.text, "joined") == script
    apart = parse(text.replace("+", ""), "apart")
    joined = _core.transcode(jpeg_bytes(photo()), script.native).fragments
    scans = _core.transcode(jpeg_bytes(photo()), apart.native).fragments
    assert joined == [scans[0], b"".join(scans[1:])]
    gray = _core.transcode(jpeg_bytes(photo(mode="L")), script.native).fragments
    assert len(gray) == 2


def test_comments_spaces_and_a_missing_last_semicolon() -> None:
    text = "# all\n 0 1  2 : 0-0 , 0,0 ; 0: 1-63, 0, 0; 1: 1-63 0 0 ;2: 1 - 63, 0, 0 # end"
    assert parse(text, "mine").groups == 4


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0,1,2: 0-63, 0, 0;", "not both"),
        ("nonsense;", "does not have the form"),
        ("+ 0,1,2: 0-0,0,0; 0,1,2: 1-63,0,0;", "no group before it"),
        (
            "0,1,2: 0-0,0,0;"
            + "".join(f"0,1,2: {k}-{k},0,0;" for k in range(1, 63))
            + "0,1,2: 63-63,0,0;",
            "190 scans",
        ),
        ("0" * 5000 + ": 0-0,0,0;", "does not have the form"),
        ("0,1,3: 0-0, 0, 0;", "components must be"),
        ("0,0: 0-0, 0, 0;", "components must be"),
        ("0: 0-0,0,0; 0: 1-64,0,0;", "0 to 63"),
        ("1,2: 0-0,0,0; 0: 0-0,0,0;", "must hold component 0"),
        ("0: 1-63,0,0;", "DC scan first"),
        ("0,1,2: 0-0,0,1; 0,1,2: 0-0,2,1;", "not at bit"),
        ("0,1,2: 0-0,0,0; 0,1,2: 0-0,0,0;", "was sent before"),
        ("0,1,2: 0-0,0,0;", "not lossless"),
        ("0,1,2: 0-0,0,1; 0: 1-63,0,0; 1: 1-63,0,0; 2: 1-63,0,0;", "not lossless"),
        ("", "0 scans"),
        ("0,1,2: 0-0,0,11;", "Al must be"),
    ],
)
def test_a_bad_script_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse(text, "bad")


def test_load_names_what_it_could_not_find(tmp_path: Path) -> None:
    assert load("spectral") is SPECTRAL
    with pytest.raises(
        UsageError, match="neither default nor spectral nor rate nor fast nor a readable file"
    ):
        load(str(tmp_path / "missing"))
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="readable"):
        load(str(binary))


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """Valid scripts: a random number of refinement bits, and random cuts of the spectrum."""
    bits = draw(st.integers(0, 3))
    scans = [f"0,1,2: 0-0, 0, {bits};"]
    for component in range(3):
        cuts = sorted(draw(st.sets(st.integers(2, 63), max_size=3)))
        for first, last in zip([1, *cuts], [*(c - 1 for c in cuts), 63], strict=True):
            scans.append(f"{component}: {first}-{last}, 0, {bits};")
    for bit in range(bits, 0, -1):
        scans.append(f"0,1,2: 0-0, {bit}, {bit - 1};")
        scans.extend(f"{component}: 1-63, {bit}, {bit - 1};" for component in range(3))
    return "\n".join(scans)


@given(text=scripts())
def test_any_valid_script_is_lossless_at_every_step(text: str) -> None:
    script = parse(text, "random")
    jpeg = jpeg_bytes(photo(33, 18))
    fragments = _core.transcode(jpeg, script.native).fragments
    assert len(fragments) == script.groups
    whole = b"".join(fragments) + b"\xff\xd9"
    assert _core.compare_coefficients(jpeg, whole) == ""


@given(text=st.text(alphabet="012: -,;63#\n", max_size=80))
def test_any_text_gives_a_script_or_a_sentence(text: str) -> None:
    try:
        script = parse(text, "random")
    except UsageError:
        return
    assert script.groups >= 1
