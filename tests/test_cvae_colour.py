"""Structure that changes with wavelength: what the encoder is shown of it, and what the decoder can draw."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skyloom.errors import TrainingError
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.encode import colour_channels, encode, referenced
from skyloom.generators.cvae.evidence import evidence_gain, posterior_of
from skyloom.generators.cvae.features import (
    FEATURES,
    OPTIONAL,
    REFERENCE,
    STEP,
    WIDTH,
    hide,
    known_values,
    with_wavelength,
    without_band,
)
from skyloom.generators.cvae.flow_simulated import fit_latents
from skyloom.generators.cvae.frame import COLUMNS, ROWS
from skyloom.generators.cvae.importance import Sampling, log_evidence
from skyloom.generators.cvae.instrument import GridGeometry, encoder_input, grid_points, residual_grid
from skyloom.generators.cvae.measurement import measured
from skyloom.generators.cvae.net import Architecture, Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import fit_prior
from skyloom.generators.cvae.prior_posteriors import wound_alike
from skyloom.generators.cvae.reencode import reencoded_maps
from skyloom.generators.cvae.train import Trainer, TrainingConfig
from skyloom.physics.sersic import sersic_surface_brightness
from skyloom.testing.cutouts import synthetic_cutouts

WAVELENGTH = FEATURES.index("wavelength")
UNKNOWN = len(FEATURES) + OPTIONAL.index("wavelength")


def _shown(values, wavelengths):
    """What `encoder_input` makes of stamps whose fractional residual has these values everywhere; their features."""
    x = torch.ones(len(values), 5, ROWS, COLUMNS)
    x[:, 1] = torch.tensor(values)[:, None, None]
    y = torch.zeros(len(values), WIDTH)
    y[:, WAVELENGTH] = torch.tensor(wavelengths)
    return x, y


def _one_galaxy(stamps):
    return Galaxies(torch.zeros(stamps, dtype=torch.long), 1, torch.ones(stamps), torch.tensor([0]))


def test_stamps_tell_the_slope_of_their_galaxy():
    offsets = np.array([-1.0, 0.0, 1.0, 2.0])
    galaxies = Galaxies(torch.tensor([0, 0, 0, 0, 1, 1]), 2, torch.ones(6), torch.tensor([0, 4]))
    x, y = _shown([*(0.3 + 0.2 * offsets), 0.5, 0.5], [*offsets, -1.0, 1.0])
    slope, offset = colour_channels(x, referenced(y, galaxies), galaxies).unbind(1)
    weight = offset[:4, 0, 0] ** 2
    assert float((slope[:4, 0, 0] * weight).sum() / weight.sum()) == pytest.approx(0.2, rel=0.03)
    assert offset[:4, 0, 0].tolist() == pytest.approx([-1.5, -0.5, 0.5, 1.5])
    assert float(slope[4:].abs().max()) == pytest.approx(0.0, abs=1e-6)  # grey


def test_a_stamp_by_itself_or_of_no_known_wavelength_tells_no_colour():
    x, y = _shown([0.1, 0.7, 0.4], [0.0, 1.0, -1.0])
    for galaxies, unknown in ((Galaxies.alone(3), 0.0), (_one_galaxy(3), 1.0)):
        y[:, UNKNOWN] = unknown
        assert float(colour_channels(x, referenced(y, galaxies), galaxies).abs().max()) == 0


def test_stamps_that_are_hidden_do_not_tell_others_of_themselves():
    stamps = Stamps.from_cutouts(synthetic_cutouts(4, stamp_size=48)[:2])
    y = with_wavelength(stamps.features, torch.tensor([700.0, 2000.0]))
    stamps, galaxies = replace(stamps, features=y), _one_galaxy(2)
    torch.manual_seed(0)
    encoder = Encoder(Architecture()).eval()
    index, seen = torch.arange(2), torch.tensor([True, False])
    first = encode(encoder, stamps, index, galaxies, seen=seen)[0][0]
    other = replace(stamps, image=torch.cat([stamps.image[:1], 3 * stamps.image[1:]]))
    assert torch.equal(encode(encoder, other, index, galaxies, seen=seen)[0][0], first)
    assert not torch.equal(encode(encoder, other, index, galaxies)[0][0], first)
    alone = encode(encoder, stamps, index, Galaxies.alone(2))[0][0]
    torch.testing.assert_close(alone, first)
    assert encoder_input(stamps, index).shape[1] == 5


def test_latents_of_maps_that_change_with_wavelength_draw_the_change():
    torch.manual_seed(1)
    decoder = Decoder(Architecture(global_latents=2, local_channels=4, fine_channels=1, width=16)).eval()
    for weights in (*decoder.out.parameters(), *decoder.slope.parameters()):
        weights.data *= 20
    y = torch.zeros(3, 2, WIDTH)
    y[:, :, STEP] = torch.tensor([-1.0, 1.5])
    with torch.no_grad():
        truth = torch.randn(3, decoder.arch.latents)
        f = torch.stack([decoder(truth, y[:, k]) for k in range(2)], 1)
    change = f[:, 1] - f[:, 0]
    assert float(change.std()) > 0.3 * float(f.std())
    mean, _, missed = fit_latents(decoder, f, y, steps=150, error=0.02)
    with torch.no_grad():
        found = decoder(mean, y[:, 1]) - decoder(mean, y[:, 0])
    assert float((found - change).std()) < 0.35 * float(change.std())
    square = torch.stack([(decoder(mean, y[:, k]) - f[:, k]).detach().square() for k in range(2)], 1)
    assert float((square.mean((1, 2, 3)).sqrt() - missed).abs().max()) < 0.02 * float(f.std())


def test_colour_has_latents_of_its_own():
    torch.manual_seed(2)
    arch = Architecture(width=16)
    decoder = Decoder(arch).eval()
    z, y = torch.randn(2, arch.latents), torch.zeros(2, WIDTH)
    other = z.clone()
    other[:, -4 * arch.colour_channels * 128 :] = 0
    with torch.no_grad():
        assert torch.equal(decoder(z, y), decoder(other, y))  # at the wavelength where latents are defined
        y[:, STEP] = 1.0
        assert float((decoder(z, y) - decoder(other, y)).std()) > 1e-3
    with pytest.raises(TrainingError, match="2 channels of colour"):
        Architecture(fine_channels=1, colour_channels=2)


def test_latents_are_defined_at_the_stamps_mean_wavelength():
    y = with_wavelength(torch.zeros(3, WIDTH), torch.tensor([600.0, 1200.0, 4800.0]))
    np.testing.assert_allclose(y[:, STEP], y[:, WAVELENGTH] - REFERENCE, rtol=1e-6)
    seen = torch.tensor([True, True, False])
    assert float(referenced(y, _one_galaxy(3))[:, STEP].sum()) == pytest.approx(0, abs=1e-5)
    np.testing.assert_allclose(referenced(y, _one_galaxy(3), seen)[:, STEP], np.log([0.5, 2, 32]) / 1.2, rtol=1e-4)
    hide(y, "wavelength", torch.tensor([True, False, False]))
    found = referenced(y, _one_galaxy(3))
    np.testing.assert_allclose(found[:, STEP], np.array([0, -1, 1]) * np.log(4) / 1.2, rtol=1e-4, atol=1e-6)
    assert not without_band(found)[:, STEP].any()


def test_features_at_another_wavelength():
    y = torch.randn(3, WIDTH)
    found = with_wavelength(y, torch.tensor([600.0, 1500.0, 4400.0]))
    np.testing.assert_allclose(known_values(found, "wavelength"), [600.0, 1500.0, 4400.0], rtol=1e-5)
    assert torch.isnan(known_values(found, "surface_brightness")).all()
    same = [k for k, name in enumerate(FEATURES) if name not in ("wavelength", "surface_brightness")]
    assert torch.equal(found[:, same], y[:, same])


def test_the_brighter_stamp_counts_more():
    x, y = _shown([0.0, 1.0], [-1.0, 1.0])
    x[1, 2] = 3.0  # three times the signal to noise
    galaxies = _one_galaxy(2)
    slope, offset = colour_channels(x, referenced(y, galaxies), galaxies).unbind(1)
    weights = 0.1 + x[:, 2].mean((1, 2))
    np.testing.assert_allclose(slope.mean((1, 2)), 0.5, atol=0.06)  # either way, of the line through both
    apart = offset.mean((1, 2))
    assert float(apart[1]) == pytest.approx(-float(apart[0] * weights[0] / weights[1]), rel=1e-4)
    x[0, 3] = 0.0  # masked: what is left has nothing to differ from
    slope, offset = colour_channels(x, referenced(y, galaxies), galaxies).unbind(1)
    assert float(slope.abs().max()) < 1e-6
    assert float(offset[1].abs().max()) < 1e-6


def _pairs(count=2):
    """Galaxies of two stamps each, at 700 and 2000 nm."""
    cutouts = synthetic_cutouts(2 * count, stamp_size=48)
    wavelengths = [700.0, 2000.0] * count
    return [
        replace(c, galaxy_id=k // 2, wavelength=w) for k, (c, w) in enumerate(zip(cutouts, wavelengths, strict=True))
    ]


STEPS = np.log(2000 / 700) / 1.2 * np.array([-1.0, 1.0])


class _Spy:
    """Keeps the steps that a decoder is given."""

    def __init__(self, decoder):
        self.steps = []
        decoder.register_forward_pre_hook(lambda module, given: self.steps.append(given[1][:, STEP].detach().clone()))

    def check(self, expected):
        assert self.steps
        for steps in self.steps:
            np.testing.assert_allclose(steps, np.resize(expected, len(steps)), atol=1e-5)
        self.steps.clear()


def test_networks_decode_at_the_galaxies_own_reference_and_priors_at_that_of_samples(tmp_path):
    stamps = Stamps.from_cutouts(_pairs())
    galaxies, index = Galaxies.of(stamps), torch.arange(4)
    assert galaxies.count == 2
    torch.manual_seed(0)
    config = TrainingConfig(steps=1, batch=2, simulated=0.0, unseen=0.0, unknown=0.0)
    trainer = Trainer(stamps, stamps, config, tmp_path)
    spy = _Spy(trainer.decoder)
    trainer._one_step()
    assert len(spy.steps) == 1
    np.testing.assert_allclose(np.sort(spy.steps.pop()), np.sort(np.resize(STEPS, 4)), atol=0.3)  # features are blurred
    trainer.encoder.eval(), trainer.decoder.eval()
    evidence_gain(trainer.encoder, trainer.decoder, stamps, 1, galaxies, refine=2)
    spy.check(STEPS)
    evidence_gain(trainer.encoder, trainer.decoder, stamps, 1, None, refine=2)
    spy.check(0.0)
    log_evidence(trainer.encoder, trainer.decoder, None, stamps, galaxies, Sampling(samples=4))
    spy.check(STEPS)
    reencoded_maps(trainer.encoder, trainer.decoder, stamps)
    spy.check(0.0)
    sampled = (np.log([700.0, 2000.0]) - 6.9) / 0.6 - REFERENCE
    mean, _, frames = posterior_of(trainer.encoder, stamps, index, galaxies)
    measured(trainer.decoder, stamps, galaxies, mean, frames)  # stamp by stamp
    spy.steps = [torch.cat(spy.steps).round(decimals=5).unique()]
    spy.check(sampled)
    posteriors = wound_alike(trainer, stamps, simulated=0, refine=1)
    spy.steps = [steps for steps in spy.steps if len(steps) == 4]  # windings are looked at in one band a galaxy
    spy.check(sampled)
    assert not posteriors.features[:, STEP].any()
    assert torch.isnan(known_values(posteriors.features, "wavelength")).all()
    prior = fit_prior(posteriors, trainer.config.architecture, iterations=1)
    log_evidence(trainer.encoder, trainer.decoder, prior, stamps, galaxies, Sampling(samples=4))
    spy.check(sampled)


def test_a_model_of_one_band_has_no_colour(tmp_path):
    stamps = Stamps.from_cutouts(synthetic_cutouts(4, stamp_size=48))
    trainer = Trainer(stamps, stamps, TrainingConfig(steps=2, batch=4), tmp_path)
    trainer._one_step()
    z, y = torch.randn(3, trainer.decoder.arch.latents), torch.zeros(3, WIDTH)
    with torch.no_grad():
        assert not trainer.decoder.slope.weight.any()
        grey = trainer.decoder.slope(torch.randn(1, 16, 16, 32))
    assert not grey.any()
    assert Trainer(*[Stamps.from_cutouts(_pairs())] * 2, TrainingConfig(), tmp_path / "2").decoder.slope.weight.any()
    assert torch.isfinite(trainer.decoder(z, y)).all()


@pytest.mark.parametrize("n", [0.5, 1.0, 4.0, 6.0])
def test_structure_of_the_centre_has_no_cusp_and_leaves_no_hole(n):
    points = grid_points(96, 9 / 96, torch.zeros(1))
    index, r = torch.tensor([n, n]), torch.linalg.vector_norm(points, dim=-1)
    f = torch.full((2, ROWS, COLUMNS), -3.0)
    f[1] = 1.0
    residual = residual_grid(f, GridGeometry.of(points), index)
    sersic = sersic_surface_brightness(index[:, None, None], r)
    inner = r[0] < 0.25
    light = (residual + sersic)[:, inner]
    assert float(light[0].min()) > np.exp(-3) * float(sersic[0, inner].min())
    assert float((light[0] / sersic[0, inner]).amin()) >= np.exp(-3) - 1e-5
    cored = sersic_surface_brightness(index[:1, None, None], torch.sqrt(r**2 + 0.2**2))[0]
    np.testing.assert_allclose(residual[1, inner], np.expm1(1.0) * cored[inner], rtol=2e-3)
    steepest = residual[1, 47, 46:49].log().diff().abs().max()
    assert float(steepest) < 0.5  # a pixel, where the Sersic of n = 6 has 0.9
