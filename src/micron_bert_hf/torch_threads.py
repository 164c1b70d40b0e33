"""Threads of torch, for work too small to share."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """
    Matrices of a small model do not fill two threads: measured with two cores under load, one thread trains 100
    pairs/s and two, which wait for each other at every operation, 25. The number of threads is put back.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
