"""The flow prior: its velocity, its paths and its posteriors, on populations whose answers are known."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from skyloom.generators.cvae.features import FEATURES, WIDTH
from skyloom.generators.cvae.flow_net import FlowArchitecture, VelocityNet, skip_and_scale
from skyloom.generators.cvae.flow_path import (
    integrate,
    log_density,
    matching_loss,
    moved_in_noise,
    posterior_samples,
    times,
)
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.flow_turn import random_turns, turned
from skyloom.generators.cvae.measurement import Measurement
from skyloom.generators.cvae.net import Architecture

ARCH = Architecture(global_latents=3, local_channels=2, fine_channels=0, colour_channels=0)
FLOW = FlowArchitecture(width=8, blocks=1, context=16, heads=2)
D = 12


@pytest.fixture(scope="module")
def gaussian():
    """A correlated Gaussian of D dimensions and the velocity of its flow."""
    torch.manual_seed(0)
    root = torch.randn(D, D) / math.sqrt(D)
    covariance, mean = root @ root.T + 0.05 * torch.eye(D), torch.linspace(-1, 1, D)

    def velocity(z, t):
        t = t[0]
        total = t**2 * covariance + (1 - t) ** 2 * torch.eye(D)
        gain = torch.linalg.solve(total, t * covariance - (1 - t) * torch.eye(D))
        return mean + (z - t * mean) @ gain

    return mean, covariance, velocity


def _net(scale: float = 0.3, arch=ARCH) -> VelocityNet:
    torch.manual_seed(1)
    net = VelocityNet(arch, FLOW)
    for weights in net.parameters():
        weights.data += scale * torch.randn_like(weights) / math.sqrt(weights.shape[-1])
    return net.eval().requires_grad_(False)


def _prior(arch=ARCH, **changes) -> FlowPrior:
    return FlowPrior(arch, _net(arch=arch), _net(0.2, arch), **changes)


@given(st.floats(0, 1))
def test_skip_and_scale_are_the_standard_normal_s(t):
    skip, scale = skip_and_scale(torch.tensor([t], dtype=torch.float64))
    total = t**2 + (1 - t) ** 2  # z and noise independent, unit variance
    assert float(skip) == pytest.approx((t - (1 - t)) / total)
    assert float(scale) ** 2 == pytest.approx(2 - (2 * t - 1) ** 2 / total)


@given(st.integers(1, 64))
def test_times_run_from_noise_to_data(steps):
    t = times(steps)
    assert len(t) == steps + 1
    assert float(t[0]) == 0
    assert float(t[-1]) == pytest.approx(1, abs=1e-6)
    assert (t.diff() > 0).all()


def test_an_untrained_network_leaves_the_standard_normal_as_it_is():
    torch.manual_seed(2)
    net, z, y = VelocityNet(ARCH, FLOW), torch.randn(4, ARCH.latents), torch.randn(4, WIDTH)
    prior = FlowPrior(ARCH, net, net, steps=0)
    drawn, _ = prior.draw(y, torch.cat([z, z[:, :1]], 1))
    torch.testing.assert_close(drawn, z, atol=2e-3, rtol=2e-3)
    found, error = prior.log_density(z, y, generator=torch.Generator().manual_seed(1))
    expected = -0.5 * (z**2 + math.log(2 * math.pi)).sum(1)
    torch.testing.assert_close(found, expected, atol=0.1, rtol=1e-4)
    assert float(error.max()) < 0.1


def test_the_flow_of_a_gaussian_gives_the_gaussian(gaussian):
    mean, covariance, velocity = gaussian
    torch.manual_seed(3)
    z = integrate(velocity, torch.randn(4000, D), 8)
    assert float((z.mean(0) - mean).abs().max()) < 0.08
    assert float((torch.cov(z.T) - covariance).abs().max()) < 0.12


def test_log_density_of_a_gaussian(gaussian):
    mean, covariance, velocity = gaussian
    torch.manual_seed(4)
    truth = torch.distributions.MultivariateNormal(mean, covariance)
    z = truth.sample((8,))
    found, error = log_density(velocity, z, steps=32, probes=64)
    off = (found - truth.log_prob(z)) / error
    assert float(off.abs().max()) < 4
    assert float(error.max()) < 1.0
    with pytest.raises(ValueError, match="at least 2"):
        log_density(velocity, z, probes=1)


def test_matching_loss_is_least_at_the_true_velocity(gaussian):
    mean, covariance, velocity = gaussian
    torch.manual_seed(5)
    z = torch.distributions.MultivariateNormal(mean, covariance).sample((4000,))
    noise, t = torch.randn_like(z), torch.full((4000,), 0.6)
    least = float(matching_loss(velocity, z, noise, t).mean())
    for other in (lambda a, b: 1.2 * velocity(a, b), lambda a, b: velocity(a, b) + 0.2):
        assert float(matching_loss(other, z, noise, t).mean()) > least + 0.01


def _measured_gaussian(mean, covariance, seed, strength, blurred):
    """A measurement of the Gaussian's latents, and the mean and covariance of the exact posterior."""
    generator = torch.Generator().manual_seed(seed)
    precision = torch.exp(torch.randn(D, generator=generator) + strength).clamp(max=30)
    precision[torch.rand(D, generator=generator) < 0.4] = 0.0  # not measured
    directions = torch.eye(D)
    if blurred:  # what is measured are sums of latents
        directions = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]
    truth = mean + torch.linalg.cholesky(covariance) @ torch.randn(D, generator=generator)
    value = directions @ truth + torch.randn(D, generator=generator) / precision.clamp(min=0.1).sqrt()
    information = directions.T @ torch.diag(precision) @ directions
    spread = torch.linalg.inv(torch.linalg.inv(covariance) + information)
    expected = spread @ (torch.linalg.solve(covariance, mean) + directions.T @ (precision * value))
    n = 1500
    measurement = Measurement(*(part[None].expand(n, *part.shape) for part in (directions, precision, value)))
    return measurement, expected, spread, generator


def _off(z, expected, spread):
    """Error of the mean in units of the posterior's own scatter, rms; least and largest scatter in those units."""
    off = (z.mean(0) - expected) / spread.diagonal().sqrt()
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(spread), (z - expected).T, upper=False)
    return float(off.square().mean().sqrt()), float(white.std(1).min()), float(white.std(1).max())


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 1000), st.floats(-1.5, 1.5), st.booleans())
@example(seed=91, strength=1.0, blurred=False)  # far from the prior along what is measured badly: slow
def test_posterior_samples_of_a_gaussian_converge_to_the_exact_posterior(gaussian, seed, strength, blurred):
    """The mean lags behind by a share of the scatter that falls as one over the levels; chance is 0.03."""
    mean, covariance, velocity = gaussian
    for levels, most in ((24, 0.22), (96, 0.1)):
        measurement, expected, spread, generator = _measured_gaussian(mean, covariance, seed, strength, blurred)
        z = posterior_samples(velocity, measurement, levels=levels, steps=8, generator=generator)
        off, narrowest, widest = _off(z, expected, spread)
        assert off < most
        assert narrowest > 0.85
        assert widest < 1.12


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_moves_in_noise_lead_to_the_exact_posterior(gaussian, seed, blurred):
    mean, covariance, velocity = gaussian
    measurement, expected, spread, generator = _measured_gaussian(mean, covariance, seed, -1.5, blurred)
    start = mean + torch.randn(1500, D, generator=generator) @ torch.linalg.cholesky(covariance).T
    z = moved_in_noise(velocity, start, measurement.log_likelihood, moves=300, generator=generator)
    off, narrowest, widest = _off(z, expected, spread)
    assert off < 0.1
    assert narrowest > 0.88
    assert widest < 1.12


def test_a_velocity_that_is_not_quite_right_keeps_its_own_prior(gaussian):
    """What is not measured must come out as the flow draws it; the reverse diffusion alone shrinks it."""
    _, _, right = gaussian

    def velocity(z, t):
        return right(z, t) - 0.15 * z

    torch.manual_seed(6)
    drawn = integrate(velocity, torch.randn(2000, D), 8)
    nothing = Measurement(torch.eye(D)[:1].expand(2000, 1, D), torch.zeros(2000, 1), torch.zeros(2000, 1))
    once = posterior_samples(velocity, nothing, generator=torch.Generator().manual_seed(7))
    moved = moved_in_noise(velocity, once, nothing.log_likelihood, generator=torch.Generator().manual_seed(8))
    width = drawn.std(0)
    assert float((once.std(0) / width).min()) < 0.9
    assert float((moved.std(0) / width - 1).abs().max()) < 0.08
    assert float(((moved.mean(0) - drawn.mean(0)) / width).abs().max()) < 0.16


def _measurement(n, seed=3):
    generator = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(D, D, generator=generator))[0][:5]
    precision = torch.exp(torch.randn(5, generator=generator))
    value = torch.randn(5, generator=generator)
    return Measurement(*(part[None].expand(n, *part.shape) for part in (directions, precision, value)))


def test_a_gaussian_likelihood_s_slope_is_the_measurement(gaussian):
    mean, _, velocity = gaussian
    measurement = _measurement(40)
    directions, precision, value = (part[0] for part in vars(measurement).values())

    def slope(z):
        return (precision * (value - z @ directions.T)) @ directions

    samples = [
        posterior_samples(
            velocity, measurement, slope=how, levels=6, loudest=0.2, start=mean.expand(40, -1),
            generator=torch.Generator().manual_seed(1),
        )
        for how in (None, slope)
    ]  # fmt: skip
    torch.testing.assert_close(samples[0], samples[1], atol=1e-4, rtol=1e-4)


def test_a_likelihood_that_bends_is_followed(gaussian):
    """What is measured is the sum of cubes: far from where its slope was taken the measurement alone is wrong."""
    mean, _, velocity = gaussian
    error, n, beyond = 0.3, 400, 1.0
    start = mean.expand(n, -1)
    truth = float((mean**3).sum()) + beyond

    def slope(z):
        return (truth - (z**3).sum(1, keepdim=True)) / error**2 * 3 * z**2

    gradient = 3 * mean**2 / error
    norm = gradient.norm()
    value = mean @ gradient / norm + beyond / error / norm
    parts = (gradient[None] / norm, norm[None] ** 2, value[None])
    measurement = Measurement(*(part[None].expand(n, *part.shape) for part in parts))
    missed = []
    for how in (None, slope):
        z = posterior_samples(
            velocity, measurement, slope=how, levels=16, loudest=0.3, start=start,
            generator=torch.Generator().manual_seed(2),
        )  # fmt: skip
        missed.append(float(((z**3).sum(1) - truth).abs().median()))
    assert missed[0] > 2
    assert missed[1] < 0.7


def test_the_prior_does_not_look_at_wavelength_or_surface_brightness():
    prior = _prior()
    torch.manual_seed(6)
    y, noise = torch.randn(8, WIDTH), torch.randn(8, prior.noise_size)
    z, mirrored = prior.draw(y, noise)
    other = y.clone()
    for name in ("wavelength", "surface_brightness"):
        other[:, FEATURES.index(name)] += 1.0
    assert torch.equal(z, prior.draw(other, noise)[0])
    other[:, FEATURES.index("q")] += 0.5
    assert not torch.allclose(z, prior.draw(other, noise)[0])
    assert torch.equal(mirrored, noise[:, -1] > 0)


def test_turned_noise_gives_the_same_galaxy_turned():
    prior = _prior(steps=3)
    torch.manual_seed(7)
    y, noise = torch.zeros(8, WIDTH), torch.randn(8, prior.noise_size)
    y[:, FEATURES.index("q")] = 1.5  # nearly face on
    turns = torch.arange(0, 16, 2)  # whole cells of the coarse level
    start = torch.cat([turned(noise[:, :-1], turns, ARCH), noise[:, -1:]], 1)
    torch.testing.assert_close(
        prior.draw(y, start)[0], turned(prior.draw(y, noise)[0], turns, ARCH), atol=1e-4, rtol=1e-4
    )
    y[:, FEATURES.index("q")] = -1.5
    apart = (prior.draw(y, start)[0] - turned(prior.draw(y, noise)[0], turns, ARCH)).abs().amax(1)
    symmetric = turns % 8 == 0  # the sky has no up and down
    assert (apart[symmetric] < 1e-4).all()
    assert (apart[~symmetric] > 1e-2).all()
    assert set(random_turns(y.repeat(9, 1)).tolist()) == {0, 8}


def test_a_sample_does_not_depend_on_its_place_in_the_batch():
    # as many global latents as models have: products with three columns round by their row on some processors
    prior = _prior(replace(ARCH, global_latents=Architecture().global_latents))
    torch.manual_seed(8)
    for _ in range(50):
        y, noise, order = torch.randn(8, WIDTH), torch.randn(8, prior.noise_size), torch.randperm(8)
        assert torch.equal(prior.draw(y, noise)[0][order], prior.draw(y[order], noise[order])[0])


def test_temperature_zero_gives_one_galaxy_and_less_than_one_less_scatter():
    prior = _prior()
    torch.manual_seed(9)
    y, noise = torch.zeros(64, WIDTH), torch.randn(64, prior.noise_size)
    cold, cool, warm = (prior.draw(y, noise, temperature)[0] for temperature in (0.0, 0.5, 1.0))
    torch.testing.assert_close(cold[0], cold[1])
    assert float(cool.std()) < float(warm.std())


def test_a_prior_survives_its_tensors():
    prior = _prior(steps=3, real=0.0)
    again = FlowPrior.from_tensors(ARCH, prior.tensors())
    torch.manual_seed(10)
    y, noise = torch.randn(8, WIDTH), torch.randn(8, prior.noise_size)
    assert (again.steps, again.real) == (3, 0.0)
    assert torch.equal(prior.draw(y, noise)[0], again.draw(y, noise)[0])
    found = [
        p.log_density(noise[:, :-1], y, steps=2, generator=torch.Generator().manual_seed(0)) for p in (prior, again)
    ]
    torch.testing.assert_close(found[0], found[1])
