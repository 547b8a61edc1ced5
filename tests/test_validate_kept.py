"""Slow stages go on where they were stopped, with the same numbers, and start anew for other input."""

from __future__ import annotations

import numpy as np
import pytest

from skyloom.validate.generator_figures import generator_figures
from skyloom.validate.run_extras import reconstructions
from skyloom.validate.run_kept import Keeper, blockwise

from .test_validate_generator_metrics import Fake
from .validate_samples import make_cutout


def doubled(calls):
    def compute(items):
        calls.append(list(items))
        return [{"twice": 2.0 * x, "name": f"n{x}"} for x in items]

    return compute


def run(keeper, calls, compute=None, told=None):
    progress = None if told is None else lambda *what: told.append(what)
    return blockwise(
        list(range(7)), compute or doubled(calls), ("twice", "name"), stage="s", block=3, keeper=keeper,
        progress=progress, shown="doubling",
    )  # fmt: skip


def test_blocks_that_are_done_are_not_done_again(tmp_path):
    keeper, calls, told = Keeper(tmp_path, "model", "a"), [], []

    def stops(items):
        if 3 in items:
            raise KeyboardInterrupt
        return doubled(calls)(items)

    with pytest.raises(KeyboardInterrupt):
        run(keeper, calls, stops)
    rows = run(keeper, calls, told=told)
    assert calls == [[0, 1, 2], [3, 4, 5], [6]]
    assert rows == [{"twice": 2.0 * x, "name": f"n{x}"} for x in range(7)]
    assert told == [("doubling", 3, 7), ("doubling", 6, 7), ("doubling", 7, 7)]
    assert run(keeper, calls) == rows
    assert len(calls) == 3


def test_a_torn_block_is_done_again_whole(tmp_path):
    keeper, calls = Keeper(tmp_path, "model", "a"), []
    run(keeper, calls)
    path = keeper.path("s")
    path.write_bytes(path.read_bytes()[:-5])
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:6]))  # head and five rows
    run(keeper, calls)
    assert calls[3:] == [[3, 4, 5], [6]]


def test_other_input_is_not_mixed_in(tmp_path):
    calls = []
    run(Keeper(tmp_path, "model", "weights a"), calls)
    run(Keeper(tmp_path, "model", "weights b"), calls)
    assert len(calls) == 6
    assert len(list(tmp_path.iterdir())) == 2


def test_figures_of_a_generator_are_kept(tmp_path):
    cutouts = [make_cutout(i, sigma=0.2, size=48) for i in range(4)]
    keeper, told = Keeper(tmp_path, "fake", "1"), []

    class Once(Fake):
        def reconstruct(self, cutouts):
            told.append("reconstruct")
            return super().reconstruct(cutouts)

        def held_out(self, cutouts):
            told.append("held_out")
            return super().held_out(cutouts)

    def both():
        return reconstructions(Once(), cutouts, keeper=keeper) | generator_figures(Once(), cutouts, keeper=keeper)

    first, again = both(), both()
    assert told == ["reconstruct", "held_out"]
    assert sorted(first) == sorted(again)
    for name, values in first.items():
        np.testing.assert_array_equal(values, again[name])
