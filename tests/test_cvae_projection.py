"""What a Sersic fit would absorb is taken out of drawn maps, and nothing else."""

import galsim
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import skyloom
from skyloom import Conditions
from skyloom.cutouts.measure import fit_sersic
from skyloom.generators.builtin import COSMOS_WEIGHTS
from skyloom.generators.cvae import amplitude
from skyloom.generators.cvae.frame import COLUMNS, ROWS, nodes, outer_edge, turned_maps
from skyloom.generators.cvae.load import load_generator
from skyloom.generators.cvae.projection import fit_weight, sersic_derivatives, sky_weight, unabsorbed
from skyloom.generators.cvae.simulate_fields import PHI, RADII, random_field
from skyloom.physics.sersic import sersic_surface_brightness
from skyloom.stamps import Cutout

from .sersic_refit import refit


def _maps(count: int, strength: float = 0.4, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return strength * random_field(torch.full((count,), 2.5), torch.full((count,), 3.0)) * outer_edge(RADII)


def _absorbed(f: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Root mean square of what one linear fit to the residual explains, over that of the residual."""
    fit, light, weight = refit(f, n)
    power = [(x**2 * weight).sum(1) for x in (fit, light)]
    return (power[0] / power[1]).sqrt()


@settings(max_examples=25, deadline=None)
@given(n=st.floats(0.31, 6.0), strength=st.floats(0.05, 0.6), seed=st.integers(0, 1000))
def test_a_fit_finds_nothing_more(n: float, strength: float, seed: int):
    f, index = _maps(6, strength, seed), torch.full((6,), n)
    found = unabsorbed(f, index)
    assert bool(torch.isfinite(found).all())
    assert float(found.abs().max()) <= 3
    assert float(_absorbed(found, index).max()) < 0.1
    again = unabsorbed(found, index)
    assert float((again - found).abs().max()) < 0.1 * float(found.abs().max())


def test_it_was_there_before():
    n = torch.linspace(0.5, 5.0, 40)
    assert float(_absorbed(_maps(40), n).median()) > 0.3


def test_only_orders_that_a_sersic_has_are_touched():
    f, n = _maps(20, 0.15), torch.linspace(0.4, 5.0, 20)
    change = torch.fft.rfft(unabsorbed(f, n) - f, dim=2).abs()
    assert float(change[:, :, 3:].max()) < 1e-4 * float(change.max())
    for order in (0, 1, 2):
        assert float(change[:, :, order].max()) > 1e-2 * float(change.max())


def test_a_sersic_stays_one_and_a_turned_map_is_turned():
    n = torch.linspace(0.4, 5.0, 8)
    assert torch.equal(unabsorbed(torch.zeros(8, ROWS, COLUMNS), n), torch.zeros(8, ROWS, COLUMNS))
    f, angle = _maps(8, 0.15), torch.linspace(-3, 3, 8)
    apart = unabsorbed(turned_maps(f, angle), n) - turned_maps(unabsorbed(f, n), angle)
    assert float(apart.abs().max()) < 1e-3


def test_all_of_a_bright_galaxy_weighs_alike_and_its_outskirts_hardly():
    n = torch.tensor([0.8, 1.5, 3.0])
    light = sersic_surface_brightness(n[:, None], RADII[:, 0])
    density = fit_weight(n) / (RADII * (RADII + 0.3))[:, 0]
    bright, faint = (light > 0.2) & (RADII[:, 0] > 0.3), light < 0.005
    assert bool((density[bright] > 0.9).all())
    assert bool((density[faint] < 0.02).all())
    against_sky = sky_weight(n) / fit_weight(n)
    assert bool((against_sky[:, 2] > 3 * against_sky[:, 20]).all())  # the sky makes the middle count for more


@pytest.mark.parametrize(("of", "change"), [("n", 1.3), ("size", 1.15), ("q", 0.9), ("centre", 0.1)])
def test_another_sersic_is_all_absorbed(of: str, change: float):
    n, at = torch.full((1,), 1.5), nodes().double()
    x, y = at[..., 0], at[..., 1]
    if of == "size":
        x, y = x / change, y / change
    elif of == "q":
        x, y = x * change**0.5, y / change**0.5
    elif of == "centre":
        x = x - change
    other = sersic_surface_brightness(n * (change if of == "n" else 1), torch.hypot(x, y).float())
    f = ((other / sersic_surface_brightness(n, RADII + 0 * PHI)).log() * outer_edge(RADII))[None]
    weight = fit_weight(n)[..., None]
    before, after = (float((m**2 * weight).sum().sqrt()) for m in (f, unabsorbed(f, n)))
    assert after < 0.35 * before


def test_bands_share_what_is_left_of_shape_and_centre():
    n, f, reference = torch.linspace(0.5, 3.0, 12), _maps(12, 0.15), _maps(12, 0.15, seed=1)
    found = unabsorbed(f, n, reference)
    for order in (1, 2):  # taken from the reference alone
        change = [
            torch.fft.rfft(a - b, dim=2)[:, :, order] for a, b in ((found, f), (unabsorbed(reference, n), reference))
        ]
        torch.testing.assert_close(*change, atol=1e-3 * float(change[1].abs().max()), rtol=1e-3)
    rings = sersic_derivatives(n)[:, :3].flatten(2)
    residuals = [refit(m, n)[1:] for m in (found, f)]
    left, before = ((rings * (light * weight)[:, None]).sum(2) for light, weight in residuals)
    assert float(left.abs().max()) < 0.02 * float(before.abs().max())
    torch.testing.assert_close(unabsorbed(f, n, f), unabsorbed(f, n), atol=0.02, rtol=0)


def test_fits_to_bright_samples_find_what_was_asked(monkeypatch: pytest.MonkeyPatch):
    model, count = load_generator(COSMOS_WEIGHTS), 40
    asked = Conditions(
        galaxy_id=np.arange(count), mag=21.0, zero_point=25.9, half_light_radius=0.4, q=0.7,
        sersic_n=np.linspace(0.7, 4.0, count),
    )  # fmt: skip
    psf, size = galsim.Gaussian(fwhm=0.12), 96
    seen = galsim.Convolve(psf, galsim.Pixel(0.05)).drawImage(nx=31, ny=31, scale=0.05, method="no_pixel").array

    def missed() -> np.ndarray:
        """Error of ln n, of ln r and of q, half of the 16th to 84th percentile."""
        images = skyloom.draw(model.sample(asked, seed=1), psf, pixel_scale=0.05, stamp_size=size)
        cutouts = [
            Cutout(
                image=image, variance=np.full(image.shape, (image**2).sum() / 3000**2, np.float32),
                mask=np.ones(image.shape, bool), psf=(seen / seen.sum()).astype(np.float32), pixel_scale=0.05,
                zero_point=25.9, band="", wavelength=float("nan"), galaxy_id=i, group=str(i), source="test",
            )
            for i, image in enumerate(images)
        ]  # fmt: skip
        fits = fit_sersic(cutouts)
        n, r, q = (np.array([getattr(f, name) for f in fits]) for name in ("sersic_n", "half_light_radius", "q"))
        off = np.array([np.log(n / asked.sersic_n), np.log(r / asked.half_light_radius), q - asked.q])
        return np.diff(np.quantile(off, [0.16, 0.84], axis=1), axis=0)[0] / 2

    with_projection = missed()
    monkeypatch.setattr(amplitude, "unabsorbed", lambda f, n, shape_of: f)
    assert (with_projection < np.array([0.6, 0.6, 1.0]) * missed()).all()
