"""Real or simulated stamps to log-polar maps: the posterior mean of each stamp by itself, on its own Sersic fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import encode, referenced
from skyloom.generators.cvae.frame import COLUMNS, ROWS
from skyloom.generators.cvae.net import Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies

if TYPE_CHECKING:
    from skyloom.stamps import Cutout

__all__ = ["encode_cutouts", "reencoded_maps"]

BATCH = 32


@torch.inference_mode()
def reencoded_maps(encoder: Encoder, decoder: Decoder, stamps: Stamps) -> Tensor:
    """Decode the posterior mean of each stamp.

    Parameters
    ----------
    encoder, decoder
        In evaluation mode.
    stamps : Stamps

    Returns
    -------
    Tensor, shape (N, ROWS, COLUMNS)
        f, the log of the galaxy over its Sersic, on the nodes of `skyloom.generators.cvae.frame`.
    """
    maps = []
    for index in torch.arange(len(stamps)).split(BATCH):
        alone = Galaxies.alone(len(index))
        y = referenced(stamps.features[index], alone)
        mean, _ = encode(encoder, stamps, index, alone, y=y)
        maps.append(decoder(mean, y))
    return torch.cat(maps)


def encode_cutouts(encoder: Encoder, decoder: Decoder, cutouts: Sequence[Cutout]) -> NDArray[np.float32]:
    """Maps of cutouts with Sersic fits, whatever their stamps' sizes.

    Parameters
    ----------
    encoder, decoder
        In evaluation mode.
    cutouts : sequence of Cutout

    Returns
    -------
    ndarray of float32, shape (N, ROWS, COLUMNS)
        In the order given; see `reencoded_maps`. A galaxy's bands are encoded each by itself.

    Raises
    ------
    TrainingError
        When one has no Sersic fit.
    """
    items = list(cutouts)
    found = np.zeros((len(items), ROWS, COLUMNS), np.float32)
    sizes = np.array([c.image.shape[0] for c in items])
    for size in np.unique(sizes):
        for rows in np.array_split(np.flatnonzero(sizes == size), -(-int((sizes == size).sum()) // BATCH)):
            stamps = Stamps.from_cutouts([items[i] for i in rows])
            found[rows] = reencoded_maps(encoder, decoder, stamps).numpy()
    return found
