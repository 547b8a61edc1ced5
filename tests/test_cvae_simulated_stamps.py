"""Stamps of simulated structure: conditions and flux stay, bands of one galaxy share their structure."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyloom.conditions import Conditions
from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import condition_features, known_values
from skyloom.generators.cvae.instrument import observe
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.simulated_stamps import with_simulated_structure
from skyloom.testing.cutouts import synthetic_cutouts


@pytest.fixture(scope="module")
def stamps():
    return Stamps.from_cutouts(synthetic_cutouts(12, stamp_size=48))


def _quiet(stamps, rows, wavelengths=None):
    """Noiseless discs; rows may repeat."""
    some = stamps.subset(rows)
    features = some.features.clone()
    if wavelengths is not None:
        features[:, 4] = (torch.log(torch.tensor(wavelengths)) - 6.9) / 0.6
        features[:, 7] = 0.0
        features[:, 5], features[:, 8] = 0.0, 1.0
    quiet = replace(
        some,
        sersic_n=torch.full((len(rows),), 1.0),
        sigma_noise=torch.full_like(some.sigma_noise, 1e-9),
        features=features,
    )
    plain = observe(torch.zeros(len(rows), GRID_SIZE, GRID_SIZE), quiet, torch.arange(len(rows)))
    return replace(quiet, sersic=plain * quiet.mask)


def _alike(a, b, sersic):
    a, b = (a - sersic).flatten(), (b - sersic).flatten()
    return float(a @ b / (a.norm() * b.norm()))


def test_other_rows_stay_as_they_are(stamps):
    torch.manual_seed(0)
    found = with_simulated_structure(stamps, Galaxies.alone(12), 5)
    assert torch.equal(found.image[5:], stamps.image[5:])
    assert not torch.equal(found.image[:5], stamps.image[:5])
    assert with_simulated_structure(stamps, Galaxies.alone(12), 0) is stamps
    for name in ("sersic_n", "q", "flux", "features", "mask"):
        assert torch.equal(getattr(found, name), getattr(stamps, name))


def test_flux_is_the_sersic_s(stamps):
    torch.manual_seed(1)
    quiet = replace(stamps, sigma_noise=torch.full_like(stamps.sigma_noise, 1e-9), mask=torch.ones_like(stamps.mask))
    found = with_simulated_structure(quiet, Galaxies.alone(12), 12)
    ratio = found.image.sum((1, 2)) / quiet.sersic.sum((1, 2))
    np.testing.assert_allclose(ratio, 1.0, atol=0.12)  # what f moves beyond the stamp's edge
    assert float((ratio - 1).abs().median()) < 0.03


def test_bands_of_one_galaxy_share_their_structure(stamps):
    rows = [3, 3, 3, 3]
    galaxies = Galaxies(torch.tensor([0, 0, 1, 1]), 2, torch.ones(4), torch.tensor([0, 2]))
    same = _quiet(stamps, rows, [600.0, 600.0, 600.0, 700.0])
    alike = {"one": [], "near": [], "other": []}
    for seed in range(12):
        torch.manual_seed(seed)
        image = with_simulated_structure(same, galaxies, 2).image
        alike["one"].append(_alike(image[0], image[1], same.sersic[0]))
        alike["near"].append(_alike(image[2], image[3], same.sersic[2]))
        alike["other"].append(_alike(image[0], image[2], same.sersic[0]))
    assert min(alike["one"]) > 0.999
    assert 0.9 < np.median(alike["near"]) < 0.9999
    assert np.median(alike["other"]) < 0.6


def test_rows_of_two_galaxies_differ(stamps):
    same = _quiet(stamps, [3, 3], [600.0, 600.0])
    torch.manual_seed(5)
    image = with_simulated_structure(same, Galaxies.alone(2), 2).image
    assert float((image[0] - image[1]).abs().max()) > 0.005 * float(same.sersic[0].max())


def test_features_are_read_back():
    conditions = Conditions(
        flux=np.full(3, 100.0), zero_point=25.0, half_light_radius=0.4, sersic_n=np.array([0.7, 1.5, 4.0]),
        q=0.6, beta=0.1, wavelength=np.array([606.0, 1500.0, 4440.0]),
        redshift=np.ma.masked_invalid([0.5, np.nan, 3.0]),
    )  # fmt: skip
    features = condition_features(conditions)
    np.testing.assert_allclose(known_values(features, "wavelength"), [606, 1500, 4440], rtol=1e-4)
    np.testing.assert_allclose(known_values(features, "redshift"), [0.5, np.nan, 3.0], rtol=1e-4)
    np.testing.assert_allclose(known_values(features, "sersic_n"), [0.7, 1.5, 4.0], rtol=1e-4)
