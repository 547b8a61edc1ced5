"""Precision of a pattern against that of its latents: known for a linear model, and never below theirs."""

from dataclasses import replace

import pytest
import torch

from skyloom.errors import TrainingError
from skyloom.generators.cvae import coherent
from skyloom.generators.cvae.coherent import coherence_factors, typical_factors
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import posterior_of
from skyloom.generators.cvae.instrument import Jitter
from skyloom.generators.cvae.likelihood import Likelihood
from skyloom.generators.cvae.net import Architecture, Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.testing.cutouts import synthetic_cutouts


@pytest.fixture(scope="module")
def stamps():
    return Stamps.from_cutouts(synthetic_cutouts(4, stamp_size=32))


@pytest.mark.parametrize(("shared", "expected"), [(0.0, 1.0), (1.0, 8.0)])
def test_a_linear_model(stamps, monkeypatch, shared, expected):
    """Eight latents that light eight pixels, each its own or all alike."""
    count, latents, sigma = len(stamps), 8, 2.0
    basis = torch.zeros(latents, *stamps.image.shape[1:])
    for k in range(latents):
        basis[k, 10, 10 + 2 * k] = 1 - shared
        basis[k, 20, 10] += shared
    monkeypatch.setattr(coherent, "model_images", lambda d, s, i, z, y, f: torch.einsum("bk,kij->bij", z, basis))
    plain = Stamps.from_cutouts(synthetic_cutouts(4, stamp_size=32), likelihood=Likelihood(whitened=False))
    plain = replace(plain, mask=torch.ones_like(plain.mask), sigma=torch.full_like(plain.sigma, sigma))
    mean = torch.full((count, latents), 20.0)
    log_variance = torch.full((count, latents), -torch.log1p(torch.tensor(1 / sigma**2)).item())
    found = coherence_factors(
        None, plain, torch.arange(count), Galaxies.alone(count), (mean, log_variance), Jitter(plain.q, mirror=False)
    )
    torch.testing.assert_close(found, torch.full((count,), expected), rtol=1e-3, atol=1e-3)


def test_networks_give_factors_in_their_range(stamps):
    torch.manual_seed(1)
    arch = Architecture(width=16)
    encoder, decoder = Encoder(arch).eval(), Decoder(arch).eval()
    for weights in decoder.parameters():
        torch.nn.init.normal_(weights, 0, 0.3)
    index, galaxies = torch.arange(len(stamps)), Galaxies.of(stamps)
    mean, log_variance, frames = posterior_of(encoder, stamps, index, galaxies)
    found = coherence_factors(decoder, stamps, index, galaxies, (mean + 2, log_variance), frames)
    known = found[torch.isfinite(found)]
    assert len(known)
    assert float(known.min()) >= 1
    assert float(known.max()) <= 30
    nothing = coherence_factors(decoder, stamps, index, galaxies, (0 * mean, log_variance), frames)
    assert torch.isnan(nothing).all()


def test_unknown_factors_become_the_median():
    nan = torch.nan
    torch.testing.assert_close(typical_factors(torch.tensor([2.0, nan, 4.0, 9.0])), torch.tensor([2.0, 4.0, 4.0, 9.0]))
    torch.testing.assert_close(typical_factors(torch.tensor([nan, nan])), torch.ones(2))


def test_fine_channels_need_local_ones():
    with pytest.raises(TrainingError, match="need 8 local"):
        Architecture(local_channels=7, fine_channels=2)
