"""Log evidence by importance sampling: against integrals known exactly, with errors that hold; and usage of latents."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.errors import BadInputError
from skyloom.generators.checkpoint import ModelCard
from skyloom.generators.cvae import prior_density
from skyloom.generators.cvae.annealing import Gaussian, annealed_weights, estimate, plain_weights
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import posterior_of
from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.flow_net import FlowArchitecture, VelocityNet
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.frame import COLUMNS, ROWS
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.importance import Sampling, _Galaxy, log_evidence
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture, Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import _N_GROUPS, GROUPS, ORDERS, Prior
from skyloom.generators.cvae.prior_density import gaussian_of
from skyloom.generators.cvae.usage import latent_usage, usage_of
from skyloom.profiles import GeneratorSpec
from skyloom.testing.cutouts import synthetic_cutouts

LOG_2PI = math.log(2 * math.pi)


def _linear(d=12, pixels=20, seed=0, scale=0.6):
    """A linear decoder and Gaussian noise: log joint, exact log evidence, exact posterior."""
    g = torch.Generator().manual_seed(seed)
    a = scale * torch.randn(pixels, d, generator=g, dtype=torch.float64)
    x = a @ torch.randn(d, generator=g, dtype=torch.float64) + torch.randn(pixels, generator=g, dtype=torch.float64)

    def log_joint(z):
        return -0.5 * ((x - z @ a.T) ** 2).sum(1) - 0.5 * (z**2).sum(1) - 0.5 * (pixels + d) * LOG_2PI

    covariance = a @ a.T + torch.eye(pixels, dtype=torch.float64)
    exact = float(torch.distributions.MultivariateNormal(torch.zeros_like(x), covariance).log_prob(x))
    precision = a.T @ a + torch.eye(d, dtype=torch.float64)
    return log_joint, exact, torch.linalg.solve(precision, a.T @ x), precision


def test_the_exact_posterior_gives_the_exact_evidence():
    log_joint, exact, mean, precision = _linear()
    found = estimate(plain_weights(log_joint, Gaussian.of(mean, precision), 16)[0])
    assert found.log_evidence == pytest.approx(exact, abs=1e-9)
    assert found.effective_samples == pytest.approx(16)
    assert found.standard_error < 1e-6


def _pulls(weights_of, exact, repeats=100):
    found = [estimate(weights_of(torch.Generator().manual_seed(k))) for k in range(repeats)]
    pulls = torch.tensor([(f.log_evidence - exact) / f.standard_error for f in found])
    return found, pulls


def test_errors_are_calibrated_and_the_bound_lies_below():
    log_joint, exact, mean, precision = _linear()
    wide = Gaussian.of(mean + 0.05, 0.6 * precision)
    found, pulls = _pulls(lambda g: plain_weights(log_joint, wide, 4000, g)[0], exact)
    assert min(f.effective_samples for f in found) > 20
    assert 0.75 < float(pulls.std()) < 1.4
    assert abs(float(pulls.mean())) < 0.6
    gap = torch.tensor([f.bound - exact for f in found])
    assert -2 < float(gap.mean()) < 0
    assert all(f.bound <= f.log_evidence for f in found)


def test_a_wrong_evidence_would_be_seen():
    log_joint, exact, mean, precision = _linear()
    wide = Gaussian.of(mean, 0.6 * precision)
    _, pulls = _pulls(lambda g: plain_weights(lambda z: log_joint(z) + 0.5, wide, 4000, g)[0], exact, 20)
    assert float(pulls.mean()) > 2


def test_few_effective_samples_are_told_and_annealing_makes_more():
    log_joint, exact, mean, precision = _linear(d=60, pixels=90, scale=0.5)
    poor = Gaussian.of(mean + 0.1, torch.diag(precision.diagonal()))
    g = torch.Generator().manual_seed(1)
    plain = estimate(plain_weights(log_joint, poor, 64, g)[0])
    weights, _, accepted = annealed_weights(log_joint, poor, 64, 120, leaps=4, step=0.2, generator=g)
    annealed = estimate(weights)
    assert plain.effective_samples < 10
    assert annealed.effective_samples > 2 * plain.effective_samples
    assert accepted > 0.6
    assert abs(annealed.log_evidence - exact) < 4 * annealed.standard_error
    assert abs(annealed.log_evidence - exact) < abs(plain.log_evidence - exact)


def test_annealed_errors_are_calibrated_and_chains_end_in_the_posterior():
    log_joint, exact, mean, precision = _linear()
    start = Gaussian.of(mean + 0.15, 0.5 * precision)

    def weights_of(g):
        return annealed_weights(log_joint, start, 100, 60, leaps=4, step=0.25, generator=g)[0]

    _, pulls = _pulls(weights_of, exact, 25)
    assert abs(float(pulls.mean())) < 0.7
    assert 0.5 < float(pulls.std()) < 1.6
    g = torch.Generator().manual_seed(5)
    weights, z, _ = annealed_weights(log_joint, start, 1000, 60, leaps=4, step=0.25, generator=g)
    w = torch.softmax(weights, 0)[:, None]
    spread = torch.linalg.inv(precision).diagonal().sqrt()
    assert float((((w * z).sum(0) - mean) / spread).abs().max()) < 0.4


@given(st.lists(st.floats(-800, 800), min_size=2, max_size=40))
@settings(deadline=None)
def test_any_weights_give_an_error_and_a_bound_below(weights):
    found = estimate(torch.tensor(weights, dtype=torch.float64))
    assert min(weights) - 1e-9 <= found.log_evidence <= max(weights) + 1e-9
    assert found.bound <= found.log_evidence + 1e-9
    assert 1 - 1e-9 <= found.effective_samples <= len(weights) + 1e-9
    assert 0 <= found.standard_error <= 1 + 1e-9
    shifted = estimate(torch.tensor(weights, dtype=torch.float64) + 7)
    assert shifted.log_evidence == pytest.approx(found.log_evidence + 7)
    assert shifted.effective_samples == pytest.approx(found.effective_samples)


# --- with stamps, a stub for the networks -----------------------------------------------------------------------------


class _Arms(torch.nn.Module):
    """Two latents: the amplitudes of an m = 1 cosine and sine; mirrored maps are those with the sine's sign changed."""

    arch = SimpleNamespace(latents=2, global_latents=2)

    def forward(self, z, y):
        phi = (torch.arange(COLUMNS) + 0.5) / COLUMNS * 2 * torch.pi - torch.pi
        f = z[:, :1] * torch.cos(phi) + z[:, 1:] * torch.sin(phi)
        return 0.03 * f[:, None, :].expand(-1, ROWS, -1)


class _Told(torch.nn.Module):
    """Says the same of every stamp, not quite the truth."""

    arch = _Arms.arch

    def forward(self, x, y):
        return torch.full((len(x), 2), 0.1), torch.full((len(x), 2), -1.0)


class _Wound:
    """A prior of one winding: the sine's amplitude is about 1."""

    def log_density(self, z, y):
        centre = torch.tensor([0.0, 1.0], dtype=torch.float64)
        found = -0.5 * (((z - centre) / 0.5) ** 2).sum(1) - LOG_2PI - 2 * math.log(0.5)
        return found, torch.zeros(len(z), dtype=torch.float64)


@pytest.fixture(scope="module")
def stamps():
    """Sersics and noise: latents of both stubs stay within reach."""
    made = Stamps.from_cutouts(synthetic_cutouts(4, stamp_size=32))
    noise = torch.randn(made.image.shape, generator=torch.Generator().manual_seed(8))
    return replace(made, image=(made.sersic + made.sigma * noise) * made.mask)


@pytest.fixture(scope="module")
def pair(stamps):
    """Two stamps of one galaxy, and another galaxy with one."""
    stamps = stamps.subset([0, 0, 1])
    return stamps, Galaxies(torch.tensor([0, 0, 1]), 2, torch.ones(3), torch.tensor([0, 2]))


@torch.no_grad()
def _by_quadrature(stamps, galaxies, prior):
    """The evidence on a fine grid of the two latents."""
    x = torch.linspace(-4.0, 4.0, 21, dtype=torch.float64)
    z = torch.cartesian_prod(x, x)
    cell = 2 * math.log(float(x[1] - x[0]))
    found = []
    for index, part in galaxies.batches(1):
        galaxy = _Galaxy(_Told(), _Arms(), prior, stamps, index, part, Sampling())
        if prior is None:
            sides = [galaxy._likelihood(z, False) - 0.5 * (z**2).sum(1) - LOG_2PI]
        else:
            # mirrored latents here give mirrored maps, so that one frame does for both windings
            both = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
            sides = [galaxy._likelihood(z, False) + prior.log_density(z * s, None)[0] for s in both]
        total = torch.logsumexp(torch.stack(sides), (0, 1)) - math.log(len(sides))
        found.append(float(total) + cell)
    return found


@pytest.mark.parametrize("prior", [None, _Wound()], ids=["training", "wound"])
@pytest.mark.parametrize(
    "how",
    [Sampling(200, widen=1.5), Sampling(24, temperatures=6, leaps=2), Sampling(100, sharpen=True)],
    ids=["plain", "annealed", "sharpened"],
)
def test_the_evidence_of_stamps_is_the_integral_over_the_latents(pair, prior, how):
    stamps, galaxies = pair
    expected = _by_quadrature(stamps, galaxies, prior)
    found = log_evidence(_Told(), _Arms(), prior, stamps, galaxies, how, torch.Generator().manual_seed(2))
    for k in range(2):
        assert float(found["effective_samples"][k]) > 10
        off = abs(float(found["log_evidence"][k]) - expected[k])
        assert off < 4 * float(found["standard_error"][k]) + 0.02
        assert float(found["bound"][k]) < expected[k] + 0.5
    again = log_evidence(_Told(), _Arms(), prior, stamps, galaxies, how, torch.Generator().manual_seed(2))
    torch.testing.assert_close(found, again)


def test_a_decoder_that_draws_the_sersic_gains_nothing(pair):
    stamps, galaxies = pair

    class Flat(_Arms):
        def forward(self, z, y):
            return torch.zeros(len(z), ROWS, COLUMNS)

    found = log_evidence(_Told(), Flat(), None, stamps, galaxies, Sampling(500, widen=3))
    gain = found["log_evidence"] - found["sersic"]
    assert float((gain.abs() / found["standard_error"]).max()) < 4
    assert float(gain.abs().max()) < 0.5


@pytest.mark.parametrize(
    "bad", [{"samples": 1}, {"temperatures": -1}, {"leaps": 0}, {"widen": 0.0}, {"step": math.nan}]
)
def test_bad_settings_are_named(bad):
    with pytest.raises(BadInputError, match=next(iter(bad))):
        Sampling(**bad)


# --- densities of priors ----------------------------------------------------------------------------------------------

ARCH = Architecture(global_latents=3, local_channels=1, fine_channels=0, colour_channels=0)


def _prior(scatter=0.4, seed=0):
    g = torch.Generator().manual_seed(seed)
    cells = LATENT_ROWS
    half = 0.3 * torch.randn(ORDERS, cells, cells, generator=g, dtype=torch.complex64)
    half[0], half[-1] = half[0].real + 0j, half[-1].real + 0j
    covariance = half @ half.mH + 0.5 * torch.eye(cells)
    triangle = torch.tril(torch.randn(3, 3, generator=g)) * 0.3 + torch.eye(3)
    return Prior(
        ARCH,
        0.2 * torch.randn(1 + WIDTH, 3, generator=g),
        triangle,
        0.2 * torch.randn(1 + WIDTH + 3, cells, generator=g),
        torch.linalg.cholesky(covariance),
        0.2 * torch.randn(1 + WIDTH, _N_GROUPS, generator=g),
        scatter * (torch.eye(_N_GROUPS) + 0.5 * torch.tril(torch.ones(_N_GROUPS, _N_GROUPS), -1)),
    )


def _drawn(prior, n, seed=1):
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(1, WIDTH, generator=g).expand(n, -1)
    return prior.draw(y, torch.randn(n, prior.noise_size, generator=g))[0], y


def test_the_prior_s_density_without_scatter_is_its_gaussian_s():
    prior = _prior(scatter=1e-4)
    z, y = _drawn(prior, 5)
    mean, precision = gaussian_of(prior, y[0])
    expected = Gaussian.of(mean, precision).log_density(z.double())
    found, error = prior.log_density(z, y)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-6)
    assert float(error.abs().max()) == 0


def test_that_gaussian_has_the_moments_of_samples():
    prior = _prior(scatter=1e-4)
    z, y = _drawn(prior, 6000)
    mean, precision = gaussian_of(prior, y[0])
    white = (z.double() - mean) @ torch.linalg.cholesky(precision)
    assert float(white.mean(0).abs().max()) < 0.07
    assert float((torch.cov(white.T) - torch.eye(z.shape[1])).abs().max()) < 0.1


def test_the_density_over_amplitudes_is_their_average():
    """Against the average of Gaussians over many drawn amplitudes."""
    prior = _prior(scatter=0.15)
    z, y = _drawn(prior, 3)
    g = torch.Generator().manual_seed(4)
    one_y = torch.cat([torch.ones(1), y[0]])
    still = []
    for _ in range(2500):
        log_a = one_y @ prior.amplitude_mean + prior.amplitude_root @ torch.randn(_N_GROUPS, generator=g)
        still.append(log_a)
    log_a = torch.stack(still).double()
    base = _prior(scatter=1e-6)
    found = []
    for row in z:
        # density at amplitude a: that at amplitude 1 of modes divided by sqrt(a), times the Jacobian
        mean = torch.cat([one_y, row[:3]]) @ prior.local_mean
        modes = torch.fft.rfft(row[3:].view(-1, LATENT_COLUMNS) - mean[:, None], norm="ortho")
        white = torch.linalg.solve_triangular(prior.local_root, modes.T[:, :, None], upper=False)[..., 0]
        times = torch.tensor([1.0, *[2.0] * (ORDERS - 2), 1.0])
        power = (white.abs() ** 2).sum(1) * times
        a = torch.exp(log_a)[:, list(GROUPS)]
        conditional = -0.5 * (power / a).sum(1) - 0.5 * (log_a[:, list(GROUPS)] * times * LATENT_ROWS).sum(1)
        rest = _at_amplitude_one(base, row, y[0], power)
        found.append(float(torch.logsumexp(conditional, 0)) - math.log(len(a)) + rest)
    expected = prior.log_density(z, y)[0]
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), expected, atol=0.25, rtol=0)


def _at_amplitude_one(prior, row, y, power):
    """Log density at amplitudes of 1, less its exponent's part of the local modes."""
    one_y = torch.cat([torch.ones(1), y])
    white = torch.linalg.solve_triangular(
        prior.global_root, (row[:3] - one_y @ prior.global_mean)[:, None], upper=False
    )
    times = torch.tensor([1.0, *[2.0] * (ORDERS - 2), 1.0])
    roots = prior.local_root.diagonal(dim1=1, dim2=2).real.log().sum(1)
    volume = prior.global_root.diagonal().log().sum() + (times * roots).sum()
    return float(-0.5 * (white**2).sum() - volume) - 0.5 * len(row) * LOG_2PI


def test_three_nodes_of_the_quadrature_are_enough_and_its_gradient_is_right(monkeypatch):
    prior = _prior(scatter=0.4)
    z, y = _drawn(prior, 4)
    coarse = prior.log_density(z, y)[0]
    monkeypatch.setattr(prior_density, "NODES", 5)
    torch.testing.assert_close(coarse, prior.log_density(z, y)[0], atol=5e-3, rtol=0)
    x = z.double().requires_grad_(True)
    (gradient,) = torch.autograd.grad(prior.log_density(x, y)[0].sum(), x)
    way = torch.randn(z.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    far, near = (prior.log_density(z.double() + h * way, y)[0] for h in (1e-4, -1e-4))
    torch.testing.assert_close((gradient * way).sum(1), (far - near) / 2e-4, rtol=2e-3, atol=2e-3)


def test_a_flow_that_does_nothing_gives_the_training_prior_s_evidence(stamps):
    class Small(_Arms):
        arch = ARCH

        def forward(self, z, y):
            return super().forward(z[:, :2], y)

    class Says(_Told):
        arch = ARCH

        def forward(self, x, y):
            mean, log_variance = torch.zeros(len(x), ARCH.latents), torch.full((len(x), ARCH.latents), -1e-4)
            return mean, log_variance

    net = VelocityNet(ARCH, FlowArchitecture(width=8, context=8, heads=2)).eval().requires_grad_(False)
    flow, galaxies = FlowPrior(ARCH, net, net, steps=0), Galaxies.alone(1)
    one = stamps.subset([0])
    plain = log_evidence(Says(), Small(), None, one, galaxies, Sampling(200), torch.Generator().manual_seed(1))
    found = log_evidence(Says(), Small(), flow, one, galaxies, Sampling(60), torch.Generator().manual_seed(1))
    scatter = math.hypot(float(plain["standard_error"]), float(found["standard_error"]))
    assert abs(float(found["log_evidence"] - plain["log_evidence"])) < 4 * scatter
    assert float(found["sersic"]) == float(plain["sersic"])


def test_a_generator_tells_the_evidence_of_cutouts():
    torch.manual_seed(0)
    card = ModelCard(family="cvae", name="x", spec=GeneratorSpec(name="x"))
    model = CVAEGenerator(Encoder(ARCH), Decoder(ARCH), _prior(), card)
    cutouts = synthetic_cutouts(2, stamp_size=32)
    found = model.log_density(cutouts, samples=16)
    assert set(found) == {"log_evidence", "standard_error", "effective_samples", "bound", "sersic"}
    assert all(values.shape == (2,) and np.isfinite(values).all() for values in found.values())
    again = model.log_density(cutouts, samples=16)
    assert all(np.array_equal(found[name], again[name]) for name in found)


# --- usage ------------------------------------------------------------------------------------------------------------


def test_usage_counts_the_latents_that_move():
    arch = Architecture(global_latents=4, local_channels=2, fine_channels=0, colour_channels=0)
    mean, log_variance = torch.zeros(50, arch.latents), torch.zeros(50, arch.latents)
    g = torch.Generator().manual_seed(0)
    mean[:, 0] = torch.randn(50, generator=g)
    ring = 4 + LATENT_ROWS * LATENT_COLUMNS + 2 * LATENT_COLUMNS  # second channel, third row
    mean[:, ring : ring + LATENT_COLUMNS] = torch.randn(50, LATENT_COLUMNS, generator=g)
    mean[:, 1] = 3.0  # says much, but the same of every galaxy
    log_variance[:, ring] = -2.0
    found = latent_usage(mean, log_variance, arch)
    assert found.active.nonzero()[:, 0].tolist() == [0, *range(ring, ring + LATENT_COLUMNS)]
    card = found.for_card()
    assert (card["active_global"], card["active_local"], card["galaxies"]) == (1, LATENT_COLUMNS, 50)
    assert card["unused_share"] == pytest.approx(1 - (1 + LATENT_COLUMNS) / arch.latents, abs=1e-3)
    assert float(found.nats[1]) == pytest.approx(4.5)
    extra = 0.5 * (math.exp(-2) - 1 + 2)
    assert float(found.nats[ring] - 0.5 * (mean[:, ring] ** 2).mean()) == pytest.approx(extra, abs=1e-5)
    assert [k for k, v in enumerate(card["kl_nats_by_row"]) if v > 0] == [2]
    assert [k for k, v in enumerate(card["kl_nats_by_channel"]) if v > 0] == [1]
    assert float(found.nats.sum()) == pytest.approx(card["kl_nats_global"] + card["kl_nats_local"], abs=0.02)


def test_usage_of_an_encoder_is_that_of_its_posteriors(stamps):
    torch.manual_seed(0)
    encoder = Encoder(ARCH).eval()
    found = usage_of(encoder, stamps, Galaxies.alone(len(stamps)))
    mean, log_variance, _ = posterior_of(encoder, stamps, torch.arange(len(stamps)), Galaxies.alone(len(stamps)))
    torch.testing.assert_close(found.nats, latent_usage(mean, log_variance, ARCH).nats)
    assert found.galaxies == len(stamps)


def test_usage_of_one_galaxy_is_refused():
    with pytest.raises(ValueError, match="at least 2 galaxies"):
        latent_usage(torch.zeros(1, ARCH.latents), torch.zeros(1, ARCH.latents), ARCH)
