"""The prior: estimated from posteriors of a known population, it gives that population back."""

import pytest
import torch

from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture
from skyloom.generators.cvae.prior import ORDERS, Posteriors, Prior, fit_prior

ARCH = Architecture(global_latents=3, local_channels=1, fine_channels=0, colour_channels=0)
CELLS = LATENT_ROWS


def _population(n: int, noise: float) -> Posteriors:
    """Wound m = 2 waves of random phase and little else, told with some noise."""
    torch.manual_seed(3)
    phase = 2 * torch.pi * torch.rand(n, 1, 1)
    row = torch.arange(CELLS)[None, :, None]
    phi = 2 * torch.pi * torch.arange(LATENT_COLUMNS)[None, None] / LATENT_COLUMNS
    local = 1.5 * torch.cos(2 * phi + 0.7 * row + phase) + 0.2 * torch.randn(n, CELLS, LATENT_COLUMNS)
    truth = torch.cat([torch.randn(n, 3) * 0.5 + 1, local.flatten(1)], 1)
    variance = torch.full_like(truth, noise**2 / (1 + noise**2))  # the posterior under N(0, 1)
    mean = (truth + noise * torch.randn_like(truth)) / (1 + noise**2)
    return Posteriors(mean, variance.log(), torch.randn(n, WIDTH), torch.ones(n, dtype=torch.bool))


@pytest.fixture(scope="module")
def prior() -> Prior:
    return fit_prior(_population(150, 0.5), ARCH, iterations=8)


def _draw(prior: Prior, n: int = 400, temperature: float = 1.0):
    torch.manual_seed(9)
    return prior.draw(torch.randn(n, WIDTH), torch.randn(n, prior.noise_size), temperature)


def test_samples_have_the_population_s_power_and_winding(prior):
    z, mirrored = _draw(prior)
    local = z[:, 3:].view(-1, CELLS, LATENT_COLUMNS)
    modes = torch.fft.rfft(local, dim=2, norm="ortho")
    power = modes.abs().pow(2).mean((0, 1))
    expected = 1.5**2 / 4 * LATENT_COLUMNS + 0.2**2
    assert 0.6 * expected < float(power[2]) < 1.5 * expected
    assert float(power[3:].max()) < 0.1 * float(power[2])
    # neighbouring rows lag by 0.7 rad, always in the same sense
    lag = torch.angle((modes[:, 1:, 2] * modes[:, :-1, 2].conj()).mean())
    assert abs(float(lag) - 0.7) < 0.1
    assert 0.4 < float(mirrored.float().mean()) < 0.6
    assert torch.allclose(z[:, :3].mean(0), torch.tensor(1.0) * 0.8, atol=0.15)


def test_temperature_zero_is_the_mean_galaxy(prior):
    y = torch.zeros(2, WIDTH)
    z, _ = prior.draw(y, torch.randn(2, prior.noise_size), 0.0)
    torch.testing.assert_close(z[0], z[1])


def test_a_sample_does_not_depend_on_its_place_in_the_batch(prior):
    read = Prior.from_tensors(ARCH, {name: values.contiguous() for name, values in prior.tensors().items()})
    torch.manual_seed(2)
    for _ in range(200):
        y, noise, order = torch.randn(8, WIDTH), torch.randn(8, read.noise_size), torch.randperm(8)
        assert torch.equal(read.draw(y, noise)[0][order], read.draw(y[order], noise[order])[0])


def test_a_prior_survives_its_tensors(prior):
    again = Prior.from_tensors(ARCH, prior.tensors())
    assert again.local_root.shape == (ORDERS, CELLS, CELLS)
    torch.testing.assert_close(_draw(again)[0], _draw(prior)[0])


@pytest.mark.parametrize("name", ["global_mean", "global_root", "local_mean", "local_root", "amplitude_root"])
def test_tensors_of_another_shape_are_refused(prior, name):
    tensors = prior.tensors()
    tensors[name] = tensors[name][:, :1]
    with pytest.raises(ValueError, match=name):
        Prior.from_tensors(ARCH, tensors)


def test_simulated_structure_shapes_the_covariance_but_not_the_strength():
    real, simulated = _population(100, 0.5), _population(100, 0.5)
    quiet = Posteriors(real.mean * 0.3, real.log_variance, real.features, real.real)
    both = Posteriors(
        *(torch.cat([getattr(quiet, k), getattr(simulated, k)]) for k in ("mean", "log_variance", "features")),
        torch.cat([real.real, ~simulated.real]),
    )
    alone, together = (_draw(fit_prior(p, ARCH, iterations=6))[0] for p in (quiet, both))
    assert float(together[:, :3].mean()) == pytest.approx(float(alone[:, :3].mean()), abs=0.05)
    strengths = [float(z[:, 3:].square().mean()) for z in (alone, together, _draw(fit_prior(simulated, ARCH))[0])]
    assert abs(strengths[1] - strengths[0]) < 0.5 * abs(strengths[2] - strengths[0])
