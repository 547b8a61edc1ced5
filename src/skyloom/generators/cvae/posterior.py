"""One posterior for a galaxy from all its stamps, in whichever bands there are."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skyloom.generators.cvae.data import Stamps

__all__ = ["Galaxies", "joint_posterior"]


@dataclass(frozen=True)
class Galaxies:
    """Which stamps show one galaxy.

    Parameters
    ----------
    row : Tensor of int, shape (N,)
        Galaxy of each stamp, 0 to `count` - 1, in the order of first appearance.
    count : int
    frame : Tensor, shape (N,)
        Half-light radius of each stamp's Sersic over the galaxy's own, the median of its stamps: structure stands where
        it stands, however large the galaxy is in a band.
    first : Tensor of int, shape (count,)
        The galaxy's first stamp.
    """

    row: Tensor
    count: int
    frame: Tensor
    first: Tensor

    @classmethod
    def of(cls, stamps: Stamps) -> Galaxies:
        """Stamps of one source and galaxy id belong together."""
        row, first = _numbered(list(zip(stamps.source, stamps.galaxy_id, strict=True)))
        radius = stamps.half_light_radius.log()
        own = torch.stack([radius[row == g].quantile(0.5) for g in range(len(first))])
        return cls(row, len(first), torch.exp(radius - own[row]), first)

    @classmethod
    def alone(cls, count: int) -> Galaxies:
        """Every stamp a galaxy of its own."""
        rows = torch.arange(count)
        return cls(rows, count, torch.ones(count), rows)

    def batches(self, size: int) -> list[tuple[Tensor, Galaxies]]:
        """Rows of the stamps of at most so many galaxies at a time, and these galaxies by themselves."""
        parts = []
        for start in range(0, self.count, size):
            rows = torch.nonzero((self.row >= start) & (self.row < start + size))[:, 0]
            parts.append((rows, self.subset(rows)))
        return parts

    def subset(self, rows: Tensor) -> Galaxies:
        """Galaxies of some stamps, numbered anew in the order of first appearance; their frames stay."""
        row, first = _numbered(self.row[rows].tolist())
        return Galaxies(row, len(first), self.frame[rows], first)

    def total(self, values: Tensor) -> Tensor:
        """Sum of values (N,) over the stamps of each galaxy, shape (count,)."""
        return torch.zeros(self.count).index_add(0, self.row, values)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of values (N, ...) over the stamps of each galaxy, shape (count, ...)."""
        total = torch.zeros(self.count, *values.shape[1:]).index_add(0, self.row, values)
        number = self.total(torch.ones(len(self.row)))
        return total / number.view(-1, *[1] * (values.ndim - 1))


def _numbered(keys: Sequence[Hashable]) -> tuple[Tensor, Tensor]:
    """A number for each key, equal keys alike, in the order of first appearance; and where each number first stands."""
    first: dict[Hashable, int] = {}
    for place, key in enumerate(keys):
        first.setdefault(key, place)
    number = {key: k for k, key in enumerate(first)}
    return torch.tensor([number[key] for key in keys], dtype=torch.long), torch.tensor(
        [*first.values()], dtype=torch.long
    )


def joint_posterior(
    mean: Tensor, log_variance: Tensor, galaxies: Galaxies, seen: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Product of what stamps say of the latents of one galaxy, and of the prior N(0, 1).

    The noise of stamps is independent, so their likelihoods multiply (Wu & Goodman 2018, eq. 3). That the encoder sees
    each stamp beside the others (`skyloom.generators.cvae.encode`) makes this a guess, which refinement improves.

    Parameters
    ----------
    mean, log_variance : Tensor, shape (N, latents)
        Posterior of each stamp by itself; variances at most 1.
    galaxies : Galaxies
    seen : bool Tensor, shape (N,), optional
        Leave out the stamps where it is False.

    Returns
    -------
    mean, log_variance : Tensor, shape (galaxies.count, latents)
    """
    inverse = torch.exp(-log_variance)
    precision, weighted = inverse - 1, mean * inverse
    if seen is not None:
        precision, weighted = precision * seen[:, None], weighted * seen[:, None]
    empty = torch.zeros(galaxies.count, mean.shape[1])
    total = 1 + empty.index_add(0, galaxies.row, precision)
    return empty.index_add(0, galaxies.row, weighted) / total, -torch.log(total)
