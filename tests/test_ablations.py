"""The ablations' script: what it leaves out is left out, what it judges by is what it says."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
import torch

from skyloom.cutouts.hdf5 import write_cutouts
from skyloom.generators.cvae import instrument, train
from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import evidence_gain
from skyloom.generators.cvae.features import STEP, WIDTH
from skyloom.generators.cvae.net import Architecture, Encoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.train import Trainer, TrainingConfig
from skyloom.testing.cutouts import synthetic_cutouts

CONFIG = TrainingConfig(steps=3, batch=4, simulated=0.0, seed=5)


@pytest.fixture(scope="module")
def cutouts():
    return synthetic_cutouts(10, stamp_size=48)


@pytest.fixture(scope="module")
def stamps(cutouts):
    return Stamps.from_cutouts(cutouts)


def test_a_cartesian_map_is_read_where_its_nodes_are(script):
    cartesian = script("ablation_cartesian")
    at = cartesian.nodes()
    f = (at[..., 0] - 2 * at[..., 1])[None]
    points = 3.5 * (2 * torch.rand(1, 5, 7, 2) - 1)
    found = cartesian.sample_map(f, cartesian.map_coordinates(points))
    torch.testing.assert_close(found, points[..., 0] - 2 * points[..., 1], atol=0.04, rtol=0)  # a node is 0.19 wide


def test_the_radial_profile_of_a_cartesian_decoder_is_round(script):
    cartesian = script("ablation_cartesian")
    from skyloom.generators.cvae.frame import node_radii

    weights = cartesian._radial_weights()
    r = torch.linalg.vector_norm(cartesian.nodes(12), dim=-1).flatten()
    knots = node_radii(8)
    torch.testing.assert_close(knots @ weights, r.clamp(knots[0], knots[-1]))


def test_the_cartesian_model_learns_and_leaves_nothing_behind(script, stamps, tmp_path):
    cartesian = script("ablation_cartesian")
    before = (instrument.nodes, instrument.map_coordinates, instrument.sample_map, train.Encoder, train.Decoder)
    config = replace(CONFIG, steps=25, batch=8, evaluate_every=25, learning_rate=5e-3)
    with cartesian.cartesian_frame():
        trainer = Trainer(stamps, stamps, config, tmp_path)
        trainer.run()
        assert isinstance(trainer.decoder, cartesian.CartesianDecoder)
        found = trainer.evidence_gain(stamps)
    assert float(found["gain"].mean()) > 50
    assert float(found["chi2"].mean()) < float(found["chi2_sersic"].mean())
    assert before == (instrument.nodes, instrument.map_coordinates, instrument.sample_map, train.Encoder, train.Decoder)
    assert train.Encoder is Encoder


def test_cartesian_and_log_polar_networks_are_of_one_size(script, stamps, tmp_path):
    cartesian = script("ablation_cartesian")
    arch = Architecture()
    plain, other = (
        sum(p.numel() for net in nets for p in net.parameters())
        for nets in (
            (train.Encoder(arch), train.Decoder(arch)),
            (cartesian.CartesianEncoder(arch), cartesian.CartesianDecoder(arch)),
        )
    )
    assert other == pytest.approx(plain, rel=0.02)


def test_judging_by_the_same_stamps_is_the_evidence_gain(script, stamps, tmp_path):
    trainer = Trainer(stamps, stamps, CONFIG, tmp_path)
    trainer.run()
    found = script("ablation_variants").judge(trainer, stamps, stamps, Galaxies.alone(len(stamps)), draws=2)
    torch.manual_seed(0)
    expected = evidence_gain(trainer.encoder, trainer.decoder, stamps, draws=2)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values.tolist())


def test_without_conditions_the_networks_cannot_tell_galaxies_apart(script, stamps, tmp_path):
    variants = script("ablation_variants")
    trainer = Trainer(stamps, stamps, CONFIG, tmp_path)
    variants.VARIANTS["no_conditions"].wire(trainer)
    trainer.run()
    z = torch.zeros(2, trainer.decoder.arch.latents)
    y = torch.randn(2, WIDTH)
    y[:, STEP] = 0.5  # between the bands of one galaxy, which stays
    found = trainer.decoder(z, y)
    assert float(found.detach().abs().max()) > 0
    torch.testing.assert_close(found[0], found[1])


def test_without_the_instrument_the_model_is_not_blurred(script, cutouts, stamps):
    bare = script("ablation_variants").VARIANTS["no_instrument"].prepare(cutouts)
    torch.testing.assert_close(bare.otf, torch.ones_like(bare.otf))
    assert bool((bare.sersic.amax((1, 2)) > 1.2 * stamps.sersic.amax((1, 2))).all())
    torch.testing.assert_close(bare.sersic.sum((1, 2)), stamps.sersic.sum((1, 2)), rtol=0.03, atol=0)
    torch.testing.assert_close(bare.image, stamps.image)


def test_each_band_alone_shares_no_posterior(script, cutouts):
    twice = [*cutouts, *(replace(c, band="F606W", wavelength=590.0) for c in cutouts)]
    assert Galaxies.of(Stamps.from_cutouts(twice)).count == len(cutouts)
    apart = script("ablation_variants").VARIANTS["each_band"].prepare(twice)
    assert Galaxies.of(apart).count == len(twice)


class _Stretched:
    """A prior of independent latents, each its own number times 0.3 plus 1."""

    def __init__(self, arch):
        self.noise_size = arch.latents + 1

    def draw(self, y, noise, temperature=1.0):
        return 1 + 0.3 * noise[:, :-1], noise[:, -1] > 0


@pytest.mark.parametrize(("kind", "centre", "width"), [("standard", 0.0, 1.0), ("stretched", 1.0, 0.3)])
def test_the_posterior_in_a_prior_s_noise_is_the_product_with_that_prior(script, kind, centre, width):
    arch = Architecture()
    prior = script("ablation_priors").StandardPrior(arch) if kind == "standard" else _Stretched(arch)
    torch.manual_seed(1)
    mean, log_variance = 0.5 * torch.randn(4, arch.latents), -2 * torch.rand(4, arch.latents)
    found = script("ablation_bounds").noise_posterior(prior, torch.zeros(4, WIDTH), mean, log_variance)
    precision = torch.exp(-log_variance) - 1 + width**-2
    expected = (mean * torch.exp(-log_variance) + centre * width**-2) / precision
    assert float((centre + width * found[0] - expected).square().mean().sqrt()) < 0.05 * width
    spread = torch.exp(found[1] / 2) * width * precision.sqrt()
    assert float((spread - 1).square().mean().sqrt()) < 0.05


def test_a_run_writes_tables_and_is_not_done_twice(script, monkeypatch, tmp_path):
    ablations = script("ablations")
    chosen = ("full", "no_simulations", "cartesian")
    monkeypatch.setattr(ablations, "VARIANTS", {name: ablations.VARIANTS[name] for name in chosen})
    write_cutouts(tmp_path / "c.h5", synthetic_cutouts(24, seed=2, stamp_size=48))
    options = [str(tmp_path / "c.h5"), "--work", str(tmp_path), "--steps", "2", "--batch", "3", "--model", "none"]

    def run(*more):
        monkeypatch.setattr(sys, "argv", ["ablations.py", *options, *more])
        ablations.main()

    for name in chosen:
        run("--only", name)
    monkeypatch.setattr(ablations, "in_process", lambda args, name: pytest.fail(f"{name} was there"))
    run()
    text = (tmp_path / "ablations_table.md").read_text()
    assert "| f = 0 (Sersic) | 0 / 0 |" in text
    for name in chosen:
        assert text.count(f"\n| {ablations.VARIANTS[name].label} |") >= 3
    kept = json.loads((tmp_path / "ablations.json").read_text())
    full = kept["variants"]["full"]["sources"]["synthetic2"]
    assert full["stamps"] > 0
    assert full["chi2_sersic"] > 0
    assert kept["variants"]["cartesian"]["against"]["reference"] == "no_simulations"
    monkeypatch.setattr(ablations, "in_process", lambda args, name: 1)
    with pytest.raises(SystemExit, match="failed: full"):
        run("--seed", "3")
