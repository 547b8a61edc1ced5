"""The pixel likelihood: noise made white, upper limits on what was cut away, floors, and random instruments."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.errors import BadInputError
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.instrument import observe
from skyloom.generators.cvae.isophote import upper_limits
from skyloom.generators.cvae.likelihood import Likelihood, independent_share, log_likelihood, residuals
from skyloom.generators.cvae.noise_filter import (
    correlated_noise,
    noise_covariance,
    usable_neighbours,
    whiten,
    whitening,
)
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.psf_error import blurred, jittered, psf_sigma
from skyloom.generators.cvae.simulated_stamps import with_simulated_structure
from skyloom.testing.cutouts import synthetic_cutouts

SIZE = 48


@pytest.fixture(scope="module")
def cutouts():
    return synthetic_cutouts(24, stamp_size=SIZE)


@pytest.fixture(scope="module")
def stamps(cutouts):
    return Stamps.from_cutouts(cutouts)


def _many(stamps, copies, rho):
    """Stamps that show their Sersic under correlated noise, a neighbour masked in each."""
    many = stamps.subset(list(range(len(stamps))) * copies)
    mask = many.mask.clone()
    mask[:, 5:16, 30:41] = 0
    mask[:, ::7, 3] = 0
    correlation = torch.full((len(many),), rho)
    image = (many.sersic + many.sigma_noise * correlated_noise(correlation, SIZE)) * mask
    return replace(
        many,
        image=image,
        mask=mask,
        sigma=many.sigma_noise,
        correlation=correlation,
        independent=independent_share(correlation),
        neighbours=usable_neighbours(mask),
    )


def _lag(noise, dy, dx):
    height, width = noise.shape[-2:]
    return float((noise[:, dy:, dx:] * noise[:, : height - dy, : width - dx]).mean())


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.48, 0.66])
def test_noise_has_the_correlation_asked_for(rho):
    torch.manual_seed(1)
    noise = correlated_noise(torch.full((60,), rho), 64)
    assert _lag(noise, 0, 0) == pytest.approx(1, abs=0.015)
    for dy, dx in ((0, 1), (1, 0)):
        assert _lag(noise, dy, dx) == pytest.approx(rho, abs=0.015)
    assert _lag(noise, 1, 1) == pytest.approx(rho**2 / 0.99, abs=0.02)
    assert abs(_lag(noise, 0, 3)) < 0.02


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.48])
def test_whitened_noise_is_white_under_any_mask(rho):
    torch.manual_seed(2)
    mask = (torch.rand(60, 64, 64) < 0.9).float()
    mask[:, 20:30, 20:40] = 0
    correlation = torch.full((60,), rho)
    noise = correlated_noise(correlation, 64) * mask
    white = whiten(noise, whitening(mask, usable_neighbours(mask), correlation))
    assert float((white * (1 - mask)).abs().max()) == 0
    assert float((white**2).sum() / mask.sum()) == pytest.approx(1, abs=0.03)
    pairs = mask[:, :, 1:] * mask[:, :, :-1]
    assert abs(float((white[:, :, 1:] * white[:, :, :-1]).sum() / pairs.sum())) < 0.06
    if rho > 0.4:
        assert float((noise[:, :, 1:] * noise[:, :, :-1]).sum() / pairs.sum()) > 0.4


def test_whitening_is_the_density_of_the_covariance_it_assumes():
    """On 3 x 3 pixels with one masked, the last pixel's term is its exact conditional density."""
    rho = 0.4
    mask = torch.ones(1, 3, 3, dtype=torch.float64)
    mask[0, 1, 0] = 0
    spots = np.array([(i, j) for i in range(3) for j in range(3) if (i, j) != (1, 0)])
    apart = spots[:, None] - spots[None]
    root = np.linalg.cholesky(noise_covariance(rho, apart[..., 0], apart[..., 1]))
    values = np.random.default_rng(3).normal(size=8)
    expected = np.linalg.solve(root, values)[-1]  # innovations, in the order of the pixels
    image = torch.zeros(1, 3, 3, dtype=torch.float64)
    image[0, spots[:, 0], spots[:, 1]] = torch.from_numpy(values)
    white = whiten(image, whitening(mask, usable_neighbours(mask), torch.tensor([rho])))
    assert float(white[0, 2, 2]) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(rho=st.floats(-0.5, 1.5), share=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_whitening_stays_finite(rho, share, seed):
    torch.manual_seed(seed)
    mask = (torch.rand(2, 12, 12) < share).float()
    filters = whitening(mask, usable_neighbours(mask), torch.full((2,), rho))
    assert filters.dtype == torch.float32
    assert torch.isfinite(filters).all()
    assert float(filters[8].max()) < 10


@pytest.mark.parametrize("rho", [0.3, 0.45, 0.6])
def test_errors_of_an_amplitude_are_right_with_white_residuals_and_too_small_without(stamps, rho):
    torch.manual_seed(4)
    many = _many(stamps, 25, rho)
    rows = torch.arange(len(many))
    spread = {}
    filters = whitening(many.mask, many.neighbours, many.correlation)
    plain_template = many.sersic * many.mask / many.sigma
    for whitened in (True, False):
        _, _, amplitude = log_likelihood(many.sersic, many, rows, Likelihood(whitened=whitened))
        template = whiten(plain_template, filters) if whitened else plain_template
        spread[whitened] = float(((amplitude - 1) * template.square().sum((1, 2)).sqrt()).std())
    assert spread[True] == pytest.approx(1, abs=0.09)
    assert spread[False] > 1.35
    assert spread[False] * float(independent_share(torch.tensor(rho))) ** 0.5 == pytest.approx(1, abs=0.25)


def test_chi2_and_the_scatter_of_the_log_likelihood_are_those_of_independent_pixels(stamps):
    torch.manual_seed(5)
    many = _many(stamps, 12, 0.4)
    rows = torch.arange(len(many))
    pixels = many.mask.sum((1, 2))
    _, white, _ = residuals(many.sersic, many, rows)
    plain, *_ = residuals(many.sersic, many, rows, Likelihood(whitened=False))
    excess = ((r**2).sum((1, 2)) - pixels for r in (white, plain))
    z_white, z_plain = (e / (2 * pixels).sqrt() for e in excess)
    assert float((white**2).sum() / pixels.sum()) == pytest.approx(1, abs=0.03)
    assert float(z_white.std()) == pytest.approx(1, abs=0.15)
    assert float(z_plain.std()) > 1.2


def test_likelihood_is_differentiable_and_blind_to_masked_pixels(stamps):
    many = _many(stamps, 1, 0.4)
    rows = torch.arange(len(many))
    model = (1.03 * many.sersic).requires_grad_()
    found, chi2, _ = log_likelihood(model, many, rows)
    found.sum().backward()
    assert torch.isfinite(model.grad).all()
    assert float((model.grad * (1 - many.mask)).abs().max()) == 0
    assert float((model.grad * many.mask).abs().max()) > 0
    spoilt = replace(many, image=torch.where(many.mask > 0, many.image, torch.tensor(1e4)))
    again, chi2_again, _ = log_likelihood(model.detach(), spoilt, rows)
    torch.testing.assert_close(again, found.detach())
    torch.testing.assert_close(chi2_again, chi2.detach())


def test_tails_forgive_one_wild_pixel(stamps):
    rows = torch.arange(len(stamps))
    image = stamps.image.clone()
    image[:, 20, 30] += 30 * stamps.sigma[:, 20, 30]
    wild = replace(stamps, image=image)
    cost = [
        log_likelihood(stamps.sersic, stamps, rows, Likelihood(student_dof=dof))[0]
        - log_likelihood(stamps.sersic, wild, rows, Likelihood(student_dof=dof))[0]
        for dof in (5.0, 1e6)
    ]
    assert float((cost[0] / cost[1]).median()) < 0.2


def _cut(cutout, isophote):
    from scipy import ndimage

    labels, _ = ndimage.label(ndimage.gaussian_filter(cutout.image, 1.0) > isophote)
    mask = labels == labels[SIZE // 2, SIZE // 2]
    return replace(cutout, mask=mask, image=np.where(mask, cutout.image, 0), thresholded=True, noise_correlation=0.3)


@pytest.fixture(scope="module")
def thresholded(cutouts):
    bright = sorted(cutouts, key=lambda c: -c.fit.snr)[:6]
    return Stamps.from_cutouts([_cut(c, 4 * float(np.sqrt(np.median(c.variance)))) for c in bright])


def test_light_that_the_isophote_would_have_shown_costs(thresholded):
    rows = torch.arange(len(thresholded))
    ring = torch.isfinite(thresholded.limit)
    assert bool(ring.any((1, 2)).all())
    assert not bool((ring & (thresholded.mask > 0)).any())
    wisps = thresholded.sersic + 3 * ring * thresholded.limit.nan_to_num(posinf=0) * (torch.rand(SIZE, SIZE) < 0.1)
    loss = {}
    for censored in (False, True):
        likelihood = Likelihood(censored=censored)
        alone = log_likelihood(thresholded.sersic, thresholded, rows, likelihood)[0]
        loss[censored] = alone - log_likelihood(wisps, thresholded, rows, likelihood)[0]
    torch.testing.assert_close(loss[False], torch.zeros(6), atol=1e-2, rtol=0)
    assert float(loss[True].min()) > 10


def test_upper_limits_leave_the_truth_alone_and_stop_sizes_from_running_away():
    plain = sorted(synthetic_cutouts(24, seed=3, strength=0.0, stamp_size=SIZE), key=lambda c: -c.fit.snr)[:8]
    stamps = Stamps.from_cutouts([_cut(c, 4 * float(np.sqrt(np.median(c.variance)))) for c in plain])
    rows = torch.arange(len(stamps))

    def limits_alone(size):
        model = observe(None, replace(stamps, jacobian=size * stamps.jacobian), rows)
        both, one = (log_likelihood(model, stamps, rows, Likelihood(censored=c))[0] for c in (True, False))
        return both - one

    true = limits_alone(1.0)
    assert float(true.mean()) > -25  # of some 1500 pixels
    assert bool((limits_alone(2.0) < true - 10).all())
    assert bool((limits_alone(0.9) < true + 8).all())


def test_simulated_structure_has_no_upper_limits(thresholded):
    torch.manual_seed(6)
    made = with_simulated_structure(thresholded, Galaxies.alone(6), 2)
    assert made.thresholded.tolist() == [False] * 2 + [True] * 4


def test_limits_follow_the_edge_and_spare_where_a_neighbour_was():
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    image = np.where(mask, 1.0, 0.0)
    image[10:30, 26:30] = 5.0  # cut off inside a neighbour
    limit = upper_limits(image, mask, noise=0.1)
    assert limit[20, 5] == pytest.approx(1, rel=0.05)
    assert np.isinf(limit[20, 35])
    assert np.isinf(limit[mask]).all()
    assert np.isinf(limit[9, 20])  # the margin
    assert np.isinf(upper_limits(image, np.zeros_like(mask), 0.1)).all()


def test_limits_are_not_below_the_noise():
    mask = np.zeros((30, 30), bool)
    mask[10:20, 10:20] = True
    limit = upper_limits(np.full((30, 30), 0.01), mask, noise=1.0)
    assert limit[np.isfinite(limit)].min() == 2


def test_floors_are_added_to_the_noise(cutouts):
    none = Stamps.from_cutouts(cutouts[:4], Likelihood(model_floor=0, psf_floor=0))
    torch.testing.assert_close(none.sigma, none.sigma_noise)
    psf = Stamps.from_cutouts(cutouts[:4], Likelihood(model_floor=0, psf_floor=0.1))
    extra = (psf.sigma**2 - none.sigma**2).clamp(min=0).sqrt()
    wider = observe(None, replace(none, otf=blurred(none.otf, none.k_grid, 0.2 * none.psf_sigma**2)), torch.arange(4))
    torch.testing.assert_close(extra, (wider - none.sersic).abs(), atol=float(none.sigma.min()) * 0.05, rtol=0.02)
    light = Stamps.from_cutouts(cutouts[:4], Likelihood(model_floor=0.1, psf_floor=0))
    assert float(light.sigma.max() / light.sigma_noise.max()) > 1.05


def test_psf_width_is_that_of_a_gaussian(stamps):
    k = stamps.k_grid.wavenumbers(stamps.flux)
    gauss = torch.exp(-0.5 * 1.7**2 * (k**2 + k[:, None] ** 2)).expand(1, 2, -1, -1).to(torch.complex64)
    assert float(psf_sigma(gauss, stamps.k_grid)) == pytest.approx(1.7, rel=0.01)
    wider = blurred(gauss, stamps.k_grid, torch.tensor([0.5]))
    assert float(psf_sigma(wider, stamps.k_grid)) == pytest.approx(np.sqrt(1.7**2 + 0.5), rel=0.01)


def test_jitter_changes_the_instrument_and_not_the_flux(stamps):
    torch.manual_seed(7)
    rows = torch.tensor([3, 1, 3])
    made = jittered(stamps, rows, psf_width=0.05)
    assert made.galaxy_id == tuple(stamps.galaxy_id[i] for i in (3, 1, 3))
    assert not torch.equal(made.otf[0], made.otf[2])
    torch.testing.assert_close(made.otf[:, :, 0, 0], stamps.otf[rows][:, :, 0, 0])
    torch.testing.assert_close(made.image, stamps.image[rows])
    many = jittered(stamps.subset([2] * 300), psf_width=0.05)
    found = psf_sigma(many.otf, many.k_grid) / stamps.psf_sigma[2]
    assert float(found.std()) == pytest.approx(0.05, rel=0.25)
    assert float(found.mean()) == pytest.approx(1, abs=0.015)
    shift = many.offset - stamps.offset[2]
    expected = np.hypot(0.03, np.minimum(stamps.offset_error[2].numpy(), 0.5))
    np.testing.assert_allclose(shift.std(0).numpy(), expected, rtol=0.2)


@pytest.mark.parametrize(("name", "value"), [("student_dof", 2.0), ("model_floor", -0.1), ("psf_floor", float("nan"))])
def test_likelihood_refuses_numbers_out_of_range(name, value):
    with pytest.raises(BadInputError, match=name):
        Likelihood(**{name: value})
