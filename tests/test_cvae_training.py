"""Training: it learns, it repeats, and a stopped run goes on to the same losses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from skyloom.errors import TrainingError
from skyloom.generators.cvae.build import build_model
from skyloom.generators.cvae.data import Stamps, usable
from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.flow_net import FlowArchitecture
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.instrument import log_likelihood
from skyloom.generators.cvae.load import load_generator
from skyloom.generators.cvae.prior_posteriors import well_seen
from skyloom.generators.cvae.train import Trainer, TrainingConfig, split_of
from skyloom.physics.draw import draw
from skyloom.testing.contract import check_generator
from skyloom.testing.cutouts import synthetic_cutouts

PIXEL_SCALE = 0.05

CONFIG = TrainingConfig(steps=12, batch=6, evaluate_every=6, checkpoint_every=4, seed=5)


@pytest.fixture(scope="module")
def cutouts():
    return synthetic_cutouts(24, stamp_size=48)


@pytest.fixture(scope="module")
def stamps(cutouts):
    return Stamps.from_cutouts(cutouts)


def _losses(folder):
    return [json.loads(line) for line in (folder / "losses.jsonl").read_text().splitlines()]


def test_the_prepared_sersic_is_what_galsim_draws(cutouts, stamps):
    import galsim

    fit = cutouts[3].fit
    psf = galsim.InterpolatedImage(galsim.Image(cutouts[3].psf, scale=PIXEL_SCALE), flux=1)
    sersic = galsim.Sersic(fit.sersic_n, half_light_radius=fit.half_light_radius, flux=fit.flux)
    sersic = sersic.shear(q=fit.q, beta=fit.beta * galsim.radians).shift(fit.dx, fit.dy)
    expected = galsim.Convolve(sersic, psf).drawImage(nx=48, ny=48, scale=PIXEL_SCALE, method="no_pixel").array
    found = stamps.sersic[3].numpy()
    assert np.abs(found - expected).max() < 5e-3 * expected.max()
    assert found.sum() == pytest.approx(expected.sum(), rel=5e-3)


def _cut_to(cutout, radius):
    """A cutout of which only the pixels within so many half-light radii of the fit are left, as by an isophote."""
    side = cutout.image.shape[0]
    y, x = (np.mgrid[:side, :side] - (side - 1) / 2) * cutout.pixel_scale
    fit = cutout.fit
    c, s = np.cos(fit.beta), np.sin(fit.beta)
    along, across = c * (x - fit.dx) + s * (y - fit.dy), c * (y - fit.dy) - s * (x - fit.dx)
    return replace(
        cutout, mask=np.hypot(along * np.sqrt(fit.q), across / np.sqrt(fit.q)) < radius * fit.half_light_radius
    )


def test_galaxies_whose_half_light_radius_was_not_seen_teach_no_prior(cutouts):
    whole, half = cutouts[3], cutouts[4]
    wide = Stamps.from_cutouts([_cut_to(whole, 4), _cut_to(whole, 1.6), _cut_to(whole, 0.6)])
    assert float(wide.seen()[0]) > 0.85
    assert float(wide.seen()[1]) > 0.5
    assert float(wide.seen()[2]) < 0.4

    bands = [replace(_cut_to(half, radius), band=band) for radius, band in ((4, "a"), (0.6, "b"), (0.5, "c"))]
    kept = well_seen(Stamps.from_cutouts([whole, _cut_to(cutouts[5], 0.6), bands[0], bands[1]]))
    assert kept.galaxy_id == (3, 4, 4)  # the mean of a galaxy's bands counts
    assert well_seen(Stamps.from_cutouts([whole, *bands])).galaxy_id == (3,)
    with pytest.raises(TrainingError, match="half of its light"):
        well_seen(Stamps.from_cutouts(bands[1:]))


def test_training_lowers_the_loss_and_beats_the_sersic(stamps, tmp_path):
    config = replace(CONFIG, steps=120, batch=12, evaluate_every=60, learning_rate=3e-3)
    trainer = Trainer(stamps, stamps, config, tmp_path)
    trainer.run()
    losses = [row["loss"] for row in _losses(tmp_path)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    found = trainer.evidence_gain(stamps)
    assert float(found["gain"].mean()) > 5
    assert float(found["chi2"].mean()) < float(found["chi2_sersic"].mean())


def test_one_seed_one_run_and_a_resumed_run_makes_the_same_steps(stamps, tmp_path):
    folders = [tmp_path / name for name in ("whole", "again", "stopped", "other")]
    for folder in folders[:2]:
        Trainer(stamps, stamps, CONFIG, folder).run()

    class StoppedError(Exception):
        pass

    def stop(step, losses):
        if step == 9:
            raise StoppedError

    with pytest.raises(StoppedError):
        Trainer(stamps, stamps, CONFIG, folders[2]).run(stop)
    resumed = Trainer(stamps, stamps, CONFIG, folders[2])
    assert resumed.resume()
    assert resumed.step == 8
    resumed.run()
    Trainer(stamps, stamps, replace(CONFIG, seed=6), folders[3]).run()
    whole, again, stopped, other = (_losses(folder) for folder in folders)
    assert len(whole) == 12
    assert again == whole
    assert stopped == whole
    assert other != whole


def test_a_run_is_not_resumed_with_another_configuration(stamps, tmp_path):
    Trainer(stamps, stamps, CONFIG, tmp_path).save()
    with pytest.raises(TrainingError, match="another folder"):
        Trainer(stamps, stamps, replace(CONFIG, batch=7), tmp_path).resume()


def test_a_run_is_not_resumed_on_other_cutouts(stamps, tmp_path):
    Trainer(stamps, stamps, CONFIG, tmp_path).save()
    with pytest.raises(TrainingError, match="other cutouts"):
        Trainer(stamps.subset(range(23)), stamps, CONFIG, tmp_path).resume()


def test_a_damaged_checkpoint_is_one_message(stamps, tmp_path):
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(TrainingError, match=r"checkpoint\.pt cannot be read"):
        Trainer(stamps, stamps, CONFIG, tmp_path).resume()


def test_a_new_run_does_not_go_on_with_an_old_run_s_losses(stamps, tmp_path):
    (tmp_path / "losses.jsonl").write_text('{"step": 1, "loss": 0.0}\n')  # ended before its first checkpoint
    Trainer(stamps, stamps, replace(CONFIG, steps=2), tmp_path).run()
    assert [row["step"] for row in _losses(tmp_path)] == [1, 2]


def test_cutouts_without_a_fit_are_one_message(cutouts):
    with pytest.raises(TrainingError, match="galaxy 1 of 'synthetic0', F814W: no Sersic fit"):
        Stamps.from_cutouts([cutouts[0], replace(cutouts[1], fit=None)])


def test_a_patch_of_sky_is_never_split(cutouts):
    parts = [split_of("a", str(k)) for k in range(4000)]
    assert parts == [split_of("a", str(k)) for k in range(4000)]
    assert 0.66 < parts.count("train") / 4000 < 0.74
    assert 0.17 < parts.count("test") / 4000 < 0.23


def test_cutouts_without_a_sound_fit_do_not_teach(cutouts):
    good = cutouts[0]
    assert usable(good)
    assert not usable(replace(good, fit=None))
    assert not usable(replace(good, fit=replace(good.fit, half_light_radius=float("nan"))))
    assert not usable(replace(good, fit=replace(good.fit, half_light_radius=100.0)))
    assert not usable(replace(good, mask=np.zeros_like(good.mask)))


def test_no_cutouts_is_one_message(tmp_path):
    with pytest.raises(TrainingError, match="0 usable cutouts"):
        build_model([[]], tmp_path / "m.safetensors", name="m", config=CONFIG, folder=tmp_path)


@pytest.fixture(scope="module")
def model(cutouts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    more = synthetic_cutouts(40, seed=2, stamp_size=48)
    config = replace(CONFIG, steps=150, batch=12, evaluate_every=150, learning_rate=3e-3)
    build_model([more], folder / "m.safetensors", name="m", config=config, folder=folder / "run")
    return load_generator(folder / "m.safetensors")


def test_a_built_model_keeps_the_contract(model):
    check_generator(model)


def test_the_card_tells_what_was_held_out(model):
    assert model.card.metrics["synthetic2"]["cutouts"] > 0
    assert model.spec.grid_size == 96
    assert set(model.spec.ranges) >= {"sersic_n", "q", "half_light_radius", "surface_brightness"}


def test_reconstructions_are_nearer_to_the_data_than_their_sersics(model):
    cutouts = synthetic_cutouts(12, seed=2, stamp_size=48)
    batch = model.reconstruct(cutouts)
    import galsim

    psf = galsim.InterpolatedImage(galsim.Image(cutouts[0].psf, scale=PIXEL_SCALE), flux=1)
    images = draw(batch, psf, pixel_scale=PIXEL_SCALE, stamp_size=48, pixel=False)
    stamps = Stamps.from_cutouts(cutouts)
    rows = torch.arange(12)
    _, chi2, amplitude = log_likelihood(torch.from_numpy(images), stamps, rows)
    _, alone, _ = log_likelihood(stamps.sersic, stamps, rows)
    assert float(chi2.sum()) < float(alone.sum())
    torch.testing.assert_close(amplitude, torch.ones(12), atol=0.02, rtol=0)


def test_a_model_with_a_flow_prior_keeps_the_contract_too(cutouts, tmp_path):
    more = synthetic_cutouts(30, seed=2, stamp_size=48)
    steps = dict.fromkeys(("first_steps", "steps", "rounds", "distil_steps", "checkpoint_every", "draws", "moves"), 2)
    flow = FlowConfig(
        flow=FlowArchitecture(width=8, blocks=1, context=16, heads=2), simulated=16, pairs=16, levels=4, **steps
    )
    path = tmp_path / "m.safetensors"
    build_model([more], path, name="m", config=replace(CONFIG, steps=4), flow=flow, folder=tmp_path / "run")
    model = load_generator(path)
    check_generator(model)
    assert isinstance(model.prior, FlowPrior)
    assert model.density is not None


def test_bands_of_one_galaxy_share_a_posterior(stamps):
    from skyloom.generators.cvae.posterior import Galaxies, joint_posterior

    alone = Galaxies.of(stamps)
    assert alone.count == len(stamps)
    double = replace(stamps, galaxy_id=tuple(k // 2 for k in range(len(stamps))))
    galaxies = Galaxies.of(double)
    assert galaxies.count == len(stamps) // 2
    assert torch.allclose(galaxies.frame.log().view(-1, 2).sum(1), torch.zeros(galaxies.count), atol=1e-5)
    mean, log_variance = torch.randn(len(stamps), 5), -torch.rand(len(stamps), 5)
    joint, variance = joint_posterior(mean, log_variance, galaxies)
    precision = torch.exp(-log_variance).view(-1, 2, 5)  # of each posterior, which counts the prior once
    expected = precision.sum(1) - 1
    torch.testing.assert_close(torch.exp(-variance), expected)
    torch.testing.assert_close(joint, (mean.view(-1, 2, 5) * precision).sum(1) / expected)
