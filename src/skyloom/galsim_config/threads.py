"""One torch thread around a fork.

GalSim's workers are forked. A torch that has started its thread pool in the parent waits for ever in a child
that wants to use the pool, because threads do not survive a fork. A child that keeps to one thread never
asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["keep_one_thread", "one_torch_thread"]


def keep_one_thread() -> None:
    """Limit torch to one thread for the rest of this process; for workers, right after the fork."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread for a while, and give the user's number back."""
    torch = sys.modules.get("torch")
    before = None if torch is None else torch.get_num_threads()
    if before != 1:
        keep_one_thread()
    try:
        yield
    finally:
        if torch is not None and before != 1:
            torch.set_num_threads(before)
