"""What torchrun's variables say, and what a shell's left-overs do not."""

from __future__ import annotations

import pytest

from dl2cli.errors import UsageError
from dl2cli.training.launch import Launch, read_launch

RANK_1_OF_2 = {
    "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "3",
}  # fmt: skip


def test_torchrun():
    launch = read_launch(RANK_1_OF_2)
    assert launch == Launch(1, 2, 1, 2, by_torchrun=True, restarts=3)
    assert not launch.is_first


@pytest.mark.parametrize(
    "left_over",
    [
        {},
        {"RANK": "1"},
        {"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "1"},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": " ", "RANK": ""},
        {"TORCHELASTIC_RESTART_COUNT": "2"},
    ],
)
def test_one_process_is_rank_0_whatever_is_left_over(left_over):
    assert read_launch(left_over) == Launch()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"RANK": None}, "WORLD_SIZE is 2, but RANK is not set"),
        ({"LOCAL_RANK": None}, "LOCAL_RANK is not set"),
        ({"MASTER_ADDR": None}, "MASTER_ADDR is not set"),
        ({"MASTER_PORT": ""}, "MASTER_PORT is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE must be a number, not 'two'"),
        ({"WORLD_SIZE": "-4"}, "there are no ranks"),
        ({"RANK": "2"}, "RANK 2 and LOCAL_RANK 1 are impossible among 2 ranks"),
        ({"LOCAL_RANK": "-1"}, "impossible"),
    ],
)
def test_what_makes_no_sense_is_a_sentence(change, reason):
    given = {**RANK_1_OF_2, **change}
    with pytest.raises(UsageError, match=reason):
        read_launch({name: value for name, value in given.items() if value is not None})
