"""The ceiling's script: a request for a known galaxy is answered with that galaxy, centred."""

import numpy as np
import pytest

import skyloom
from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.counterparts import Counterparts, asked_conditions


def test_reconstructions_are_those_of_the_galaxies_asked_for(script):
    cutouts = synthetic_cutouts(3, stamp_size=48)
    known = script("ceiling").Reconstructions(skyloom.load_model("cosmos"), cutouts)
    asked = asked_conditions(cutouts)
    galaxies = known.sample(asked[np.array([2, 0])], seed=1, out_of_range="error")
    assert galaxies[0].flux == pytest.approx(cutouts[2].fit.flux, rel=0.3)
    assert (galaxies[0].offset.x, galaxies[0].offset.y) == (0, 0)
    with pytest.raises(KeyError):
        known.sample(asked.replace(flux=asked.flux * 2))

    made = list(Counterparts(cutouts, known, lambda twins: [cutouts[0].fit for _ in twins], seed=1))
    for cutout, twin in zip(cutouts, made, strict=True):
        noise = 2 * float(np.mean(cutout.variance))
        assert np.mean((twin.image - cutout.image) ** 2) - noise < 0.02 * np.mean(cutout.image**2)
