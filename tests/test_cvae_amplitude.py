"""Samples are as strong as real galaxies: the gain is found from stamps, and it is what samples are drawn with."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyloom import Conditions
from skyloom.cutouts.fit_start import MODEL_FLOOR
from skyloom.generators.builtin import COSMOS_WEIGHTS
from skyloom.generators.checkpoint import load_checkpoint
from skyloom.generators.cvae import structure_gain as finding
from skyloom.generators.cvae.amplitude import drawn_maps, gain_at, strength_of
from skyloom.generators.cvae.data import GRID_SIZE, Stamps
from skyloom.generators.cvae.features import without_band
from skyloom.generators.cvae.frame import CORE, node_radii, outer_edge
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, observe, residual_grid
from skyloom.generators.cvae.load import load_generator
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.projection import unabsorbed
from skyloom.generators.cvae.structure_gain import GAIN, GAINS, POWERS, fit_derivatives, left_by_fit, structure_gain
from skyloom.physics.sersic import sersic_surface_brightness
from skyloom.testing.cutouts import synthetic_cutouts


@pytest.fixture(scope="module")
def model():
    return load_generator(COSMOS_WEIGHTS)


@pytest.fixture(scope="module")
def stamps():
    made = Stamps.from_cutouts(synthetic_cutouts(80, stamp_size=48, seed=2))
    return replace(made, sigma_noise=made.sigma_noise / 4)


@torch.no_grad()
def _with_structure(model, stamps, gain, seed):
    """Stamps that show samples drawn with a gain, the same for all or by their strength."""
    torch.manual_seed(seed)
    galaxies, index = Galaxies.of(stamps), torch.arange(len(stamps))
    y = without_band(galaxies.mean(stamps.features))
    z, mirrored = model.prior.draw(y, torch.randn(len(y), model.prior.noise_size))
    maps = model.decoder.maps(z[galaxies.row], stamps.features)
    table = torch.tensor([[1.0, *gain]]) if isinstance(gain, tuple) else torch.tensor([[1.0, gain, 1.0]])
    f = drawn_maps(maps, stamps.sersic_n, galaxies.frame, gain_at(table, stamps.sersic_n, strength_of(maps[1])))
    points = grid_points(GRID_SIZE, stamps.grid_scale, stamps.angle)
    geometry = GridGeometry.of(points, Jitter(stamps.q, mirrored[galaxies.row]))
    image = observe(residual_grid(f, geometry, stamps.sersic_n), stamps, index)
    return replace(stamps, image=image + stamps.sigma_noise * torch.randn_like(image))


@pytest.mark.parametrize("gain", [0.8, 1.0, 1.6])
def test_the_gain_of_simulated_galaxies_is_found(model, stamps, gain):
    found = structure_gain(model.decoder.maps, model.prior, _with_structure(model, stamps, gain, seed=0), draws=8)
    assert found.shape == (2, 3)
    assert stamps.sersic_n.min() < found[0, 0] < found[1, 0] < stamps.sersic_n.max()
    assert float(found[:, 1].log().mean().exp()) == pytest.approx(gain, rel=0.2)


def test_plain_sersics_ask_for_the_least_there_is(model, stamps):
    torch.manual_seed(0)
    plain = replace(stamps, image=stamps.sersic + stamps.sigma_noise * torch.randn_like(stamps.sersic))
    assert structure_gain(model.decoder.maps, model.prior, plain)[:, 1].tolist() == pytest.approx([GAINS[1]] * 2)


def test_stripes_on_galaxies_smaller_than_the_psf_are_no_structure(model, stamps):
    seen = _with_structure(model, stamps, 1.0, seed=0)
    plain = structure_gain(model.decoder.maps, model.prior, seen)
    # half of the stamps are shown as unresolved ones with stripes a pixel wide, as resampling leaves them
    small = torch.arange(len(stamps)) % 2 == 0
    stripes = 0.3 * torch.cos(torch.pi * torch.arange(stamps.image.shape[2])) * stamps.sersic
    striped = replace(seen, image=torch.where(small[:, None, None], seen.image + stripes, seen.image))
    wide = torch.where(small, 10 * stamps.psf_sigma, stamps.psf_sigma)
    swayed = structure_gain(model.decoder.maps, model.prior, striped)
    held, clean = (
        structure_gain(model.decoder.maps, model.prior, replace(some, psf_sigma=wide)) for some in (striped, seen)
    )
    assert float(swayed[:, 1].log().mean() - plain[:, 1].log().mean()) > 0.2
    torch.testing.assert_close(held, clean)


def test_samples_of_more_different_strength_are_told_from_others(model, stamps):
    found = [
        structure_gain(model.decoder.maps, model.prior, _with_structure(model, stamps, (1.2, power), seed=0), draws=8)
        for power in (1.0, 1.9)
    ]
    even, wide = (float(table[:, 2].mean()) for table in found)
    assert POWERS[0] <= even < wide - 0.25 <= POWERS[-1] - 0.25


def test_the_gain_between_and_beyond_the_table_s_rows():
    table = torch.tensor([[1.0, 1.2, 1.0], [4.0, 2.7, 1.0]])
    found = gain_at(table, torch.tensor([0.3, 1.0, 2.0, 4.0, 6.0]), torch.rand(5))
    torch.testing.assert_close(found, torch.tensor([1.2, 1.2, 1.8, 2.7, 2.7]))
    assert torch.equal(gain_at(torch.ones(1, 3), torch.tensor([0.5, 5.0]), torch.rand(2)), torch.ones(2))
    steep = torch.tensor([[1.0, 1.2, 1.5]])
    found = gain_at(steep, torch.ones(5), 0.35 * torch.tensor([0.0, 0.1, 0.49, 1.0, 9.0]))
    torch.testing.assert_close(found, 1.2 * torch.tensor([0.5, 0.5, 0.7, 1.0, 2.0]))


def test_strength_is_that_of_f_whatever_its_mean():
    r, wave = node_radii(), torch.cos(3 * torch.arange(64) * 2 * torch.pi / 64)
    f = (0.4 * wave).expand(2, len(r), -1)
    torch.testing.assert_close(strength_of(f), torch.full((2,), 0.4 / 2**0.5))
    torch.testing.assert_close(strength_of(f + 1.0), strength_of(f))
    assert float(strength_of(f * (r > 3)[:, None]).max()) < 1e-6  # where there is no light


def test_galaxies_that_end_stay_dark_outside():
    n, r = torch.tensor([0.7, 1.0, 2.0, 4.0]), node_radii()
    outside = r > 2.8
    for deep in (0.3, 0.6):
        ends = (-deep * torch.sigmoid((r - 2.2) / 0.1) * outer_edge(r))[None, :, None].expand(4, -1, 64)
        ring = drawn_maps((ends, ends), n, torch.ones(4), torch.ones(4)).mean(2)
        assert bool((ring[:, outside] < 0).all())
        light = sersic_surface_brightness(n[:, None], r) * ring.exp()
        assert bool((light[:, outside].diff(dim=1) < 0).all())  # no rim
        assert float(ring[:, -1].abs().max()) < 0.1


def test_wings_have_no_edge():
    n, r = torch.tensor([0.7, 1.0, 2.0, 4.0]), node_radii()
    columns = torch.arange(64)
    wide = 0.1 * (1 + torch.cos(3 * 2 * torch.pi * columns / 64)) * outer_edge(r)[:, None]
    drawn = drawn_maps((wide[None], wide[None]), n, torch.ones(4), torch.ones(4))
    as_projected = unabsorbed(wide[None].expand(4, -1, -1), n, wide[None].expand(4, -1, -1))
    inside, wings = r < 2, (r > 2.2) & (r < 4.4)
    torch.testing.assert_close(drawn[:, inside], as_projected[:, inside], rtol=0, atol=6e-3)  # but for what is dark
    third = [torch.fft.rfft(f, dim=2)[:, :, 3].abs() for f in (drawn, as_projected)]  # no fit touches it
    assert bool((third[0][:, wings] < 0.99 * third[1][:, wings]).all())
    steepest = [float((f / f.amax(1, keepdim=True)).diff(dim=1).abs().max()) for f in third]
    assert steepest[0] < 0.9 * steepest[1]


@pytest.mark.parametrize("gain", [1.0, 1.6])
@torch.no_grad()
def test_no_spot_in_a_galaxy_s_body_is_black_or_burnt(model, stamps, gain):
    torch.manual_seed(3)
    z, _ = model.prior.draw(without_band(stamps.features), torch.randn(len(stamps), model.prior.noise_size))
    maps, r = model.decoder.maps(z, stamps.features), node_radii()
    assert float(maps[0][:, r < 1].min()) < -1.8  # such spots are decoded
    f = drawn_maps(maps, stamps.sersic_n, torch.ones(len(stamps)), torch.full((len(stamps),), gain))
    assert float(f[:, r < 1.2].min()) >= -1.3
    assert float(f[:, r < 0.1].min()) >= -0.75
    assert float(f[:, r > 2].min()) < -1.3  # galaxies end
    assert float(f.max()) <= 2
    assert float(drawn_maps((f + 3 * (r < 0.1)[:, None],) * 2, stamps.sersic_n, *torch.ones(2, len(stamps))).max()) <= 2


def test_a_flat_core_does_not_leave_a_point_in_a_dark_ring():
    n, r = torch.tensor([0.7, 1.5, 2.0, 3.0, 4.5]), node_radii()
    flat = (-2.0 * torch.exp(-0.5 * (r / 0.2) ** 2) + 0.4 * torch.exp(-0.5 * ((r - 0.5) / 0.15) ** 2))[None, :, None]
    flat = flat + 0.3 * torch.cos(3 * torch.arange(64) * 2 * torch.pi / 64) * (r > 0.15)[:, None]
    f = drawn_maps((flat.expand(5, -1, -1),) * 2, n, torch.ones(5), torch.ones(5))
    blunt = sersic_surface_brightness(n[:, None], torch.hypot(r, torch.full_like(r, CORE)))
    profile = sersic_surface_brightness(n[:, None], r) + blunt * (f.exp().mean(2) - 1)
    inner = profile[:, r < 0.45]
    assert bool((inner.diff(dim=1) < 0.01 * inner[:, :1]).all())
    as_asked = sersic_surface_brightness(n[:, None], r) + blunt * (flat.exp().mean(2) - 1)
    assert bool((as_asked[:, r < 0.45].diff(dim=1).amax(1) > 0.01).any())


def test_a_core_between_knots_is_not_filled_to_the_light_of_the_knots():
    """As the mean light around it is: that made a grey disc with an edge."""
    n, r = torch.tensor([0.5, 0.8]), node_radii()
    phi = (torch.arange(64) + 0.5) / 64 * 2 * torch.pi
    knots = 2.6 * torch.exp(-0.5 * ((r - 0.4) / 0.08) ** 2)[:, None] * torch.exp(4 * (torch.cos(2 * phi) - 1))
    dark = (knots - 0.8 * torch.sigmoid((0.6 - r) / 0.05)[:, None]).expand(2, -1, -1)
    f = drawn_maps((dark, dark), n, torch.ones(2), torch.ones(2))
    light = sersic_surface_brightness(n[:, None], torch.hypot(r, torch.full_like(r, CORE)))[:, :, None] * f.exp()
    core, ring = light[:, r < 0.1].mean((1, 2)), light[:, (r > 0.35) & (r < 0.45)]
    assert bool((ring.amax((1, 2)) > 3 * core).all())  # there are knots
    assert bool((core < 0.9 * ring.mean((1, 2))).all())


def test_fits_allow_for_the_share_of_light_that_the_conditions_fits_do():
    assert finding._FIT_FLOOR == MODEL_FLOOR


def test_the_caller_s_random_numbers_are_left_alone(model, stamps):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    structure_gain(model.decoder.maps, model.prior, stamps, draws=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("change", ["flux", "sersic_n", "size", "shape", "centre"])
def test_a_fit_leaves_nothing_of_another_sersic(stamps, change):
    index = torch.arange(len(stamps))
    other = {
        "flux": replace(stamps, flux=stamps.flux * 1.05),
        "sersic_n": replace(stamps, sersic_n=stamps.sersic_n * 1.05),
        "size": replace(stamps, jacobian=stamps.jacobian * 1.05),
        "shape": replace(stamps, jacobian=torch.tensor([[1.03, 0.02], [0.02, 0.97]]) @ stamps.jacobian),
        "centre": replace(stamps, offset=stamps.offset + torch.tensor([0.05, -0.1])),
    }[change]
    nothing = torch.zeros(len(stamps), GRID_SIZE, GRID_SIZE)
    residual = observe(nothing, other, index) - observe(nothing, stamps, index)
    power = (residual**2 * stamps.mask).sum((1, 2))
    assert bool((left_by_fit(residual, fit_derivatives(stamps, index), stamps, index) < 0.05 * power).all())


def test_no_light_near_the_centre_is_negative(model):
    rng = np.random.default_rng(5)
    count = 300
    asked = Conditions(
        galaxy_id=np.arange(count), mag=22.0, zero_point=25.9, half_light_radius=rng.uniform(0.15, 0.6, count),
        sersic_n=np.exp(rng.uniform(np.log(0.5), np.log(5), count)), q=rng.uniform(0.3, 1, count), wavelength=800.0,
    )  # fmt: skip
    batch = model.sample(asked, seed=3, out_of_range="clip")
    for galaxy, radius in zip(batch, asked.half_light_radius, strict=True):
        image = galaxy.drawImage(nx=32, ny=32, scale=0.045 * radius, method="no_pixel").array
        assert image.min() > 0


def test_samples_are_drawn_with_the_gain_of_the_weights(model):
    tensors, _ = load_checkpoint(COSMOS_WEIGHTS)
    np.testing.assert_array_equal(model.gain, tensors[GAIN])
    assert bool(((model.gain[:, 1] > 0.5) & (model.gain[:, 1] < 2.0)).all())
    asked = Conditions(galaxy_id=np.arange(12), mag=22.0, zero_point=25.9, half_light_radius=0.5, sersic_n=1.2, q=0.8)
    weak = load_generator(COSMOS_WEIGHTS)
    weak.gain = model.gain * torch.tensor([1.0, 0.5, 1.0])
    strength = [np.sqrt((m.sample(asked, seed=2).residual ** 2).mean()) for m in (weak, model)]
    assert 1.4 < strength[1] / strength[0] < 2.6


def test_the_derivative_by_the_index_does_not_vanish_at_the_bound(stamps):
    index = torch.arange(4)
    sizes = []
    for n in (6.0, 6.19):
        basis = fit_derivatives(replace(stamps, sersic_n=torch.full_like(stamps.sersic_n, n)), index)
        sizes.append(basis[:, 1].square().sum((1, 2)).sqrt() / basis[:, 0].square().sum((1, 2)).sqrt())
    torch.testing.assert_close(sizes[1], sizes[0], rtol=0.2, atol=0)
