"""Schedules and curricula: what is read is what is written, and every mistake gets its sentence."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.training.fidelity.curriculum import (
    Curriculum,
    Fidelity,
    Points,
    parse_scans,
    parse_schedule,
    parse_sizes,
)
from dl2cli.training.fidelity.curriculum_file import auto_ladder, load_curriculum

values = st.integers(1, 999_999_999)


@st.composite
def schedules(draw: st.DrawFn) -> Points:
    later = draw(st.sets(st.integers(1, 999_999_999), max_size=6))
    return tuple((epoch, draw(values)) for epoch in sorted({0, *later}))


def written(points: Points) -> str:
    return ",".join(f"{value}@{epoch}" for epoch, value in points)


@given(schedules())
def test_parse_reads_what_is_written(points: Points):
    assert parse_scans(written(points)) == points
    assert parse_sizes(written(points)) == points


@given(schedules(), schedules(), st.integers(0, 2_000_000_000))
def test_the_last_point_that_has_begun_rules_for_scans_and_sizes_alike(
    scans: Points, sizes: Points, epoch: int
):
    now = Curriculum.of(scans, sizes).at(epoch)
    assert now.scans == [k for first, k in scans if first <= epoch][-1]
    assert now.size_px == [px for first, px in sizes if first <= epoch][-1]
    assert Curriculum.of(sizes=sizes).at(epoch) == Fidelity(size_px=now.size_px)


@given(st.text(max_size=30))
def test_any_text_is_a_schedule_or_a_usage_error(text: str):
    try:
        points = parse_scans(text)
    except UsageError:
        return
    assert parse_scans(written(points)) == points


def test_the_published_form():
    schedule = Curriculum.of(parse_scans("2@0,5@45,10@80"))
    assert [schedule.at(e).scans for e in (0, 44, 45, 79, 80, 1000)] == [2, 2, 5, 5, 10, 10]
    assert (schedule.label(), schedule.size_label()) == ("2@0,5@45,10@80", None)


def test_labels():
    both = Curriculum.of(parse_scans("2@0,10@5"), parse_sizes("128@0,176@30"))
    assert both.label() == "2@0,10@5-128@0,176@30px"
    assert (Curriculum.constant(5).label(), Curriculum.constant(5).scans_label()) == ("5", "5")
    assert Curriculum.of(sizes=((0, 96),)).label() == "96px"
    assert str(Fidelity(1, 96, True)) == "1 scan, 96 pixels, scaled decoding"


@pytest.mark.parametrize("text", ["10", " 10 ", "10@0", " 10 @ 0 "])
def test_a_number_alone_holds_from_the_start(text: str):
    assert parse_scans(text) == ((0, 10),)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write value@epoch pairs"),
        ("2@0,", "write value@epoch pairs"),
        ("2@0,5", "write value@epoch pairs"),
        ("-1@0", "write value@epoch pairs"),
        ("2@0;5@3", "write value@epoch pairs"),
        ("٣@0", "write value@epoch pairs"),
        ("9" * 5000, "write value@epoch pairs"),
        ("2@1", "begin it with value@0"),
        ("2@0,5@45,10@45", "each once"),
        ("2@0,5@45,10@40", "ascending order"),
        ("0", "at least 1"),
    ],
)
def test_mistakes_say_what_to_write(text: str, advice: str):
    with pytest.raises(UsageError, match=advice) as error:
        parse_schedule(text, "scan", "2@0,5@45,10@80")
    assert len(str(error.value)) < 300


def test_a_loader_without_scans_keeps_the_sizes():
    both = Curriculum.of(parse_scans("2@0,10@5"), parse_sizes("32@0,64@5"))
    kept = both.without_scans()
    assert kept is not None and kept.at(5) == Fidelity(size_px=64)
    assert Curriculum.constant(5).without_scans() is None


@given(st.integers(1, 400), st.integers(8, 600), st.one_of(st.none(), st.integers(1, 30)))
def test_the_built_in_curriculum_rises_to_full_fidelity(
    epochs: int, image_px: int, groups: int | None
):
    found = load_curriculum("progressive", epochs=epochs, image_px=image_px, groups=groups)
    sizes = [each.size_px or image_px for each in found.fidelities]
    assert sizes == sorted(sizes) and max(sizes) <= image_px
    scans = [each.scans or groups or 1 for each in found.fidelities]
    assert scans == sorted(scans)
    if epochs >= 4:
        assert found.at(epochs - 1) == Fidelity()
    if groups is None:
        assert all(each.scans is None for each in found.fidelities)


def test_the_built_in_sizes_at_224_pixels():
    found = load_curriculum("progressive", epochs=100, image_px=224, groups=10, scales=False)
    assert found.points == (
        (0, Fidelity(3, 128)),
        (25, Fidelity(5, 160)),
        (50, Fidelity(5, 192)),
        (75, Fidelity()),
    )
    assert found.label() == "progressive"


def test_the_ladder_of_auto_is_in_order_of_cost_and_without_repeats():
    ladder = auto_ladder(image_px=224, groups=10, scales=True)
    assert ladder[0] == Fidelity(2, 128, True) and Fidelity(5, None, None) in ladder
    plain = auto_ladder(image_px=224, groups=None, scales=False)
    assert plain == (Fidelity(None, 128), Fidelity(None, 160), Fidelity(None, 192))


def test_a_file(tmp_path: Path):
    file = tmp_path / "mine.toml"
    file.write_text(
        '[[step]]\nfrom = 0\nscans = 2\nsize = "50%"\nscaled_decode = true\n'
        '[[step]]\nfrom = "40%"\nsize = 48\n'
    )
    found = load_curriculum(str(file), epochs=10, image_px=64, groups=10)
    assert found == Curriculum(((0, Fidelity(2, 32, True)), (4, Fidelity(None, 48))), "mine")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("from = 0", "must hold tables"),
        ("[[step]]\nfrom = 1", "must say what holds from epoch 0"),
        ("[[step]]\nfrom = 0\nside = 3", "unknown key 'side'"),
        ("[[step]]\nscans = 3", "from must be a whole number"),
        ("[[step]]\nfrom = 0\nscans = 0", "scans must be a whole number of at least 1"),
        ('[[step]]\nfrom = 0\nsize = "140%"', "size must be a whole number"),
        ("[[step]]\nfrom = 0\nscaled_decode = 1", "must be true or false"),
        ("[[step]]\nfrom = 0\n[[step]]\nfrom = 0", "Two steps"),
        ("[[step", "is not a TOML file"),
        ("step = 3", "must hold tables"),
        ("step = [3]", "unknown key"),
    ],
)
def test_mistakes_of_a_file_are_one_sentence(tmp_path: Path, text: str, sentence: str):
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=sentence):
        load_curriculum(str(file), epochs=10, image_px=64, groups=10)


@given(st.binary(max_size=60))
def test_any_file_is_a_curriculum_or_a_usage_error(tmp_path_factory, content: bytes):
    file = tmp_path_factory.mktemp("any") / "any.toml"
    file.write_bytes(content)
    with pytest.raises(UsageError):
        load_curriculum(str(file), epochs=10, image_px=64, groups=10)


def test_neither_name_nor_file():
    with pytest.raises(UsageError, match="built-in curricula progressive and auto"):
        load_curriculum("progresive", epochs=10, image_px=64, groups=10)
