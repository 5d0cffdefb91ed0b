"""torch's number of threads, changed by several at once."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from lgm.threads import usual_threads


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(work: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def enter_and_set_two() -> int:
    with usual_threads() as usual:
        torch.set_num_threads(2)
        return usual


def test_what_was_changed_is_put_back() -> None:
    with usual_threads() as usual:
        torch.set_num_threads(1)
    assert usual == 3
    assert torch.get_num_threads() == 3


def test_it_is_put_back_after_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), usual_threads():
        torch.set_num_threads(1)
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 3


def test_a_thread_born_meanwhile_does_not_take_the_change_for_the_usual_number() -> None:
    with usual_threads():
        torch.set_num_threads(1)
        assert in_a_new_thread(torch.get_num_threads) == 1  # why it has to be remembered
        assert in_a_new_thread(enter_and_set_two) == 3
    assert torch.get_num_threads() == 3
    assert in_a_new_thread(torch.get_num_threads) == 3


def test_the_number_may_change_while_nobody_is_inside() -> None:
    torch.set_num_threads(2)
    with usual_threads() as usual:
        assert usual == 2
