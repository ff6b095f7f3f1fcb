"""The scan schedule: what is read is what is written, and every mistake gets its sentence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dl2cli.errors import UsageError
from dl2cli.training.fidelity.scan_schedule import ScanSchedule

scans = st.integers(1, 999_999_999)


@st.composite
def schedules(draw: st.DrawFn) -> ScanSchedule:
    later = draw(st.sets(st.integers(1, 999_999_999), max_size=6))
    return ScanSchedule(tuple((epoch, draw(scans)) for epoch in sorted({0, *later})))


@given(schedules())
def test_parse_reads_what_str_writes(schedule: ScanSchedule):
    assert ScanSchedule.parse(str(schedule)) == schedule


@given(schedules(), st.integers(0, 2_000_000_000))
def test_the_last_point_that_has_begun_rules(schedule: ScanSchedule, epoch: int):
    begun = [k for first, k in schedule.points if first <= epoch]
    assert schedule.scans_at(epoch) == begun[-1]


@given(st.text(max_size=30))
def test_any_text_is_a_schedule_or_a_usage_error(text: str):
    try:
        schedule = ScanSchedule.parse(text)
    except UsageError:
        return
    assert ScanSchedule.parse(str(schedule)) == schedule


def test_the_published_form():
    schedule = ScanSchedule.parse("2@0,5@45,10@80")
    assert [schedule.scans_at(e) for e in (0, 44, 45, 79, 80, 1000)] == [2, 2, 5, 5, 10, 10]
    assert str(schedule) == "2@0,5@45,10@80"


@pytest.mark.parametrize("text", ["10", " 10 ", "10@0", " 10 @ 0 "])
def test_a_number_alone_holds_from_the_start(text):
    assert ScanSchedule.parse(text) == ScanSchedule(((0, 10),))


def test_blanks_do_not_matter():
    assert str(ScanSchedule.parse(" 2 @0, 5@ 45 ,10 @ 80")) == "2@0,5@45,10@80"


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "write scans@epoch pairs"),
        ("2@0,", "write scans@epoch pairs"),
        ("2@0,5", "write scans@epoch pairs"),
        ("-1@0", "write scans@epoch pairs"),
        ("2@0;5@3", "write scans@epoch pairs"),
        ("٣@0", "write scans@epoch pairs"),
        ("9" * 5000, "write scans@epoch pairs"),
        ("2@1", "write its first pair as scans@0"),
        ("2@0,5@45,10@45", "each epoch once"),
        ("2@0,5@45,10@40", "ascending order"),
        ("0", "at least 1 scan"),
    ],
)
def test_mistakes_say_what_to_write(text, advice):
    with pytest.raises(UsageError, match=advice) as error:
        ScanSchedule.parse(text)
    assert len(str(error.value)) < 300


def test_check_compares_with_the_dataset():
    schedule = ScanSchedule.parse("2@0,10@5")
    schedule.check(10)
    with pytest.raises(UsageError, match="10 scans from epoch 5 on, but the dataset has 6"):
        schedule.check(6)
