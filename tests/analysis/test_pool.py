"""The pool keeps order, and survives workers that crash."""

import os
import time

import pytest

from dl2cli.analysis.pool import OrderedPool
from dl2cli.errors import Dl2Error


def begin(config: object) -> None:
    assert config == "configured"


def square(number: int) -> int:
    """In a worker. Multiples of 10 that are not of 20 end it; odd ones take their time."""
    if number % 20 == 10:
        os._exit(9)
    if number % 2:
        time.sleep(0.002)
    return number * number


def crashed(number: int) -> int:
    return -number


def pool(workers: int) -> OrderedPool[int, int]:
    return OrderedPool(square, crashed, workers=workers, start=begin, config="configured")


def chunks(numbers: range, length: int) -> list[range]:
    return [numbers[i : i + length] for i in range(0, len(numbers), length)]


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_crashes_are_their_own(workers):
    results = list(pool(workers).map(chunks(range(33), 4)))
    assert results == [-n if n % 20 == 10 else n * n for n in range(33)]


def test_no_more_than_a_few_chunks_are_taken_ahead():
    taken = 0

    def source():
        nonlocal taken
        for chunk in chunks(range(11, 30), 1):
            taken += 1
            yield chunk

    results = pool(1).map(source())
    assert next(results) == 121
    assert taken <= 4
    results.close()  # ends the workers, and does not wait for what was taken


def test_workers_that_always_crash_end_the_run():
    with pytest.raises(Dl2Error, match="11 images in a row"):
        list(pool(1).map([[10] * 50]))


def test_an_error_of_the_function_is_raised_here():
    with pytest.raises(TypeError):
        list(pool(1).map([["text"]]))
