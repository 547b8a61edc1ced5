"""What stamps tell of latents: against the likelihood's own slope and curvature, and against linear algebra."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.features import STEP
from skyloom.generators.cvae.images import model_images
from skyloom.generators.cvae.instrument import Jitter
from skyloom.generators.cvae.likelihood import Likelihood, log_likelihood
from skyloom.generators.cvae.measurement import Measurement, measured, slope_of, stamps_likelihood
from skyloom.generators.cvae.net import Architecture, Decoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.testing.cutouts import synthetic_cutouts

D = 9


@pytest.fixture(scope="module")
def decoder():
    torch.manual_seed(2)
    made = Decoder(Architecture(global_latents=3, local_channels=4, fine_channels=1, colour_channels=0, width=16))
    for weights in made.out.parameters():
        torch.nn.init.normal_(weights, 0, 0.1)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize("whitened", [True, False])
def test_slope_and_curvature_are_the_likelihood_s(decoder, whitened):
    cutouts = synthetic_cutouts(3, seed=4, stamp_size=32, noise_rms=0.004)
    stamps = Stamps.from_cutouts(cutouts, Likelihood(whitened=whitened))
    # one galaxy of two stamps, one of a single one
    row = torch.tensor([0, 1, 0])
    galaxies = Galaxies(row, 2, torch.tensor([1.1, 1.0, 0.9]), torch.tensor([0, 1]))
    index = torch.arange(3)
    frames = Jitter(stamps.q, torch.tensor([True, False, True])).spread(index, galaxies.frame)
    torch.manual_seed(5)
    mean = 0.5 * torch.randn(2, decoder.arch.latents)
    y = stamps.features
    truth = model_images(decoder, stamps, index, mean[row], y, frames)  # images that the model explains
    stamps = replace(stamps, image=(truth + stamps.sigma * torch.randn_like(truth)) * stamps.mask)
    found = measured(decoder, stamps, galaxies, mean, frames)
    assert len(found) == 2
    assert float(found.nats().min()) > 10  # there is something to be told

    def likelihood(z):
        images = model_images(decoder, stamps, index, z[row], y, frames)
        return galaxies.total(log_likelihood(images, stamps, index)[0])

    z = mean.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(likelihood(z).sum(), z)
    off = found.value - torch.einsum("bkd,bd->bk", found.directions, mean)
    pull = torch.einsum("bkd,bk->bd", found.directions, found.precision * off)
    for own, other in zip(pull, slope, strict=True):
        assert float((own - other).norm()) < 0.1 * float(other.norm())
    # along the best measured directions the likelihood bends as said
    for k in range(3):
        step = 0.5 * found.directions[:, k] * found.precision[:, k, None] ** -0.5
        bend = likelihood(mean + step) + likelihood(mean - step) - 2 * likelihood(mean)
        assert torch.all((bend / -0.25 - 1).abs() < 0.3), bend / -0.25


def test_likelihoods_and_slopes_of_some_galaxies_in_any_order(decoder):
    stamps = Stamps.from_cutouts(synthetic_cutouts(4, seed=4, stamp_size=32, noise_rms=0.004))
    galaxies = Galaxies(torch.tensor([0, 1, 0, 2]), 3, torch.ones(4), torch.tensor([0, 1, 3]))
    found = stamps_likelihood(decoder, stamps, galaxies, Jitter(stamps.q, mirror=False))
    torch.manual_seed(5)
    z = 0.3 * torch.randn(3, decoder.arch.latents)
    everyone, some = torch.arange(3), torch.tensor([2, 0])
    torch.testing.assert_close(found(some, z[some]), found(everyone, z)[some], atol=1e-3, rtol=1e-5)
    every = slope_of(partial(found, everyone), z)
    torch.testing.assert_close(slope_of(partial(found, some), z[some]), every[some], atol=1e-3, rtol=1e-3)
    step = 1e-2 * every / every.norm(dim=1, keepdim=True)
    index, y = torch.arange(4), stamps.features

    def likelihood(z):
        images = model_images(decoder, stamps, index, z[galaxies.row], y, Jitter(stamps.q, mirror=False))
        return galaxies.total(log_likelihood(images, stamps, index)[0])

    torch.testing.assert_close(found(everyone, z), likelihood(z), atol=1e-3, rtol=1e-5)
    risen = (likelihood(z + step) - likelihood(z - step)) / 2e-2
    torch.testing.assert_close(risen, every.norm(dim=1), rtol=0.05, atol=0.1)


def test_latents_of_colour_are_not_told_at_the_wavelength_of_the_latents():
    torch.manual_seed(2)
    decoder = Decoder(Architecture(global_latents=2, local_channels=8, width=16)).eval().requires_grad_(False)
    for weights in (*decoder.out.parameters(), *decoder.slope.parameters()):
        torch.nn.init.normal_(weights, 0, 0.1)
    stamps = Stamps.from_cutouts(synthetic_cutouts(1, stamp_size=32, noise_rms=0.004))
    z, frame = torch.zeros(1, decoder.arch.latents), Jitter(stamps.q, mirror=False)
    found = measured(decoder, stamps, Galaxies.of(stamps), z, frame)
    assert found.directions[..., -512:].any()
    stamps.features[:, STEP] = 0
    found = measured(decoder, stamps, Galaxies.of(stamps), z, frame)
    assert float(found.nats()) > 1
    assert not found.directions[..., -512:].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(0, D))
def test_a_measurement_is_its_precision_matrix(seed, rank):
    torch.manual_seed(seed)
    root, truth = torch.randn(D, rank, dtype=torch.float64), torch.randn(D, dtype=torch.float64)
    information = root @ root.T + 0.2 * torch.eye(D)[0][:, None] * torch.eye(D)[0]
    found = Measurement.of(information, information @ truth)
    again = torch.einsum("kd,k,ke->de", found.directions[0], found.precision[0], found.directions[0])
    assert float((again - information).abs().max()) < 0.1 + 1e-4  # all but directions that tell next to nothing
    told = found.directions[0] @ truth.float()
    torch.testing.assert_close(found.value[0], told, atol=1e-4, rtol=1e-4)
    expected = 0.5 * torch.linalg.slogdet(torch.eye(D) + information).logabsdet
    assert float(found.nats()) == pytest.approx(float(expected), abs=0.05 * D)
    assert found.precision[0].tolist() == sorted(found.precision[0].tolist(), reverse=True)


def test_galaxies_with_fewer_directions_are_filled_up():
    parts = [Measurement.of(torch.diag(torch.arange(k + 1.0)), torch.arange(k + 1.0)) for k in (4,)]
    parts.append(Measurement.of(torch.zeros(5, 5), torch.zeros(5)))
    both = Measurement.cat(parts)
    assert both.directions.shape == (2, 4, 5)
    assert not both.precision[1].any()
    assert both.nats()[1] == 0
    again = both[torch.tensor([1, 0, 0])]
    assert torch.equal(again.value[1], both.value[0])
    assert torch.equal(again.value[1], again.value[2])


@pytest.mark.parametrize("rank", [1, 4, 7])
def test_narrowed_numbers_are_those_of_the_posterior(rank):
    torch.manual_seed(rank)
    root = torch.randn(7, rank)
    told = Measurement.of(root @ root.T, torch.zeros(7))
    seen = Measurement(*(part.expand(7, *part.shape[1:]) for part in (told.directions, told.precision, told.value)))
    scatter = seen.narrowed(torch.eye(7))
    wanted = torch.linalg.inv(torch.eye(7) + root @ root.T)
    torch.testing.assert_close(scatter @ scatter.T, wanted, atol=1e-5, rtol=1e-4)
    mean = torch.randn(1, 7)
    posterior = torch.distributions.MultivariateNormal(mean[0], covariance_matrix=wanted)
    prior = torch.distributions.MultivariateNormal(torch.zeros(7), torch.eye(7))
    expected = torch.distributions.kl_divergence(posterior, prior)
    torch.testing.assert_close(told.divergence(mean)[0], expected, atol=1e-3, rtol=1e-4)
