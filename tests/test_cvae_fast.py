"""The networks rearranged for sampling are the trained ones, and a changed one is used as it is."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.generators.cvae.fast_decoder import FastDecoder
from skyloom.generators.cvae.fast_flow import FastFlow
from skyloom.generators.cvae.fast_layers import Convolution, padded, upsampled
from skyloom.generators.cvae.features import WIDTH
from skyloom.generators.cvae.flow_net import FlowArchitecture, VelocityNet
from skyloom.generators.cvae.flow_path import skip_and_scale
from skyloom.generators.cvae.flow_prior import FlowPrior, few_steps, velocity_of
from skyloom.generators.cvae.layers import DiscConv, upsample
from skyloom.generators.cvae.net import Architecture, Decoder
from skyloom.generators.cvae.sampler import Sampler
from skyloom.residual_grid import aperture_weights, folded, ring_weights

ARCH = Architecture(global_latents=5, local_channels=3, fine_channels=0, colour_channels=0, width=16)
FINE = Architecture(global_latents=5, local_channels=6, fine_channels=1, width=16)
ALL_FINE = Architecture(global_latents=5, local_channels=8, fine_channels=2, width=16)
FLOW = FlowArchitecture(width=8, blocks=1, context=12, heads=2)


def with_random_weights(net, seed):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in net.parameters():
            weights.copy_(0.15 * torch.randn(weights.shape, generator=rng))
    return net.eval().requires_grad_(False)


def inputs(count, size, seed):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=rng), torch.randn(count, size, generator=rng)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 5), arch=st.sampled_from([ARCH, FINE, ALL_FINE]))
def test_decoder(seed, count, arch):
    decoder = with_random_weights(Decoder(arch), seed)
    y, z = inputs(count, arch.latents, seed)
    with torch.inference_mode():
        for fast, plain in zip(FastDecoder(decoder)(z, y), decoder.maps(z, y), strict=True):
            torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 4), real=st.sampled_from([0.0, 1.0]))
def test_flow(seed, steps, real):
    net = with_random_weights(VelocityNet(ARCH, FLOW), seed)
    y, noise = inputs(3, ARCH.latents, seed)
    with torch.inference_mode():
        expected = few_steps(velocity_of(net, y, real), noise, steps)
        torch.testing.assert_close(
            FastFlow(net, steps, real)(y, noise), expected, atol=1e-3, rtol=1e-3
        )  # steps amplify rounding
    assert skip_and_scale(torch.tensor(0.0))[0] == -1


@pytest.mark.parametrize("stride", [1, 2])
def test_layers(stride):
    x = torch.randn(2, 5, 4, 8, generator=torch.Generator().manual_seed(1))
    conv = DiscConv(5, 3, stride=stride)
    last = x.permute(0, 2, 3, 1).contiguous()
    with torch.inference_mode():
        torch.testing.assert_close(Convolution(conv)(padded(last)).permute(0, 3, 1, 2), conv(x))
        torch.testing.assert_close(upsampled(last).permute(0, 3, 1, 2), upsample(x))


class Changed(Decoder):
    def maps(self, z, y):
        return tuple(2 * f for f in super().maps(z, y))


def make_prior():
    teacher, student = (with_random_weights(VelocityNet(ARCH, FLOW), seed) for seed in (1, 2))
    return FlowPrior(ARCH, teacher, student)


def test_a_decoder_of_another_class_is_used_as_it_is():
    decoder = with_random_weights(Changed(ARCH), 0)
    assert Sampler(decoder, make_prior()).decode == decoder.maps


def test_a_decoder_that_the_rearrangement_does_not_know_is_used_as_it_is(monkeypatch, caplog):
    maps = Decoder.maps
    monkeypatch.setattr(Decoder, "maps", lambda self, z, y: tuple(f + 0.1 for f in maps(self, z, y)))
    decoder = with_random_weights(Decoder(ARCH), 0)
    with torch.inference_mode():
        sampler = Sampler(decoder, make_prior())
    assert sampler.decode == decoder.maps
    assert "rearranged decoder differs by 0.1" in caplog.text


def test_sampler_draws_as_the_prior_does():
    prior = make_prior()
    y, noise = inputs(4, prior.noise_size, 3)
    with torch.inference_mode():
        z, mirrored = Sampler(with_random_weights(Decoder(ARCH), 0), prior).draw(y, noise, 0.7)
        expected, mirrored_too = prior.draw(y, noise, 0.7)
    torch.testing.assert_close(z, expected, atol=1e-4, rtol=1e-4)
    assert (mirrored == mirrored_too).all()


@given(size=st.integers(7, 21), seed=st.integers(0, 100))
def test_folded_rings_are_the_rings(size, seed):
    residual = np.random.default_rng(seed).normal(size=(2, size, size)).astype(np.float32)
    radii, weights = aperture_weights(size, 0.25)
    found, rings = ring_weights(size, 0.25)
    inside = np.cumsum(rings @ folded(residual).reshape(2, -1).T, axis=0)
    assert (found == radii).all()
    np.testing.assert_allclose(inside, weights @ residual.reshape(2, -1).T, atol=2e-5)
