"""Better posteriors: the bound rises, more so with correlations; no steps give the guess; a broken start recovers."""

import pytest
import torch

from skyloom.generators.cvae.data import Stamps
from skyloom.generators.cvae.evidence import evidence_gain, posterior_of
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.refine import refined_posterior
from skyloom.generators.cvae.train import Trainer, TrainingConfig
from skyloom.testing.cutouts import synthetic_cutouts


@pytest.fixture(scope="module")
def stamps():
    return Stamps.from_cutouts(synthetic_cutouts(16, stamp_size=48))


@pytest.fixture(scope="module")
def trained(stamps, tmp_path_factory):
    config = TrainingConfig(steps=60, batch=8, evaluate_every=30, checkpoint_every=60, learning_rate=3e-3)
    trainer = Trainer(stamps, stamps, config, tmp_path_factory.mktemp("run"))
    trainer.run()
    return trainer


def _gain(trained, stamps, refine):
    torch.manual_seed(3)
    return evidence_gain(trained.encoder, trained.decoder, stamps, draws=8, refine=refine)["gain"]


def test_the_bound_rises_with_the_steps(trained, stamps):
    rough, some, more = (_gain(trained, stamps, steps) for steps in (0, 15, 60))
    assert float((some - rough).mean()) > 5
    assert float(more.mean()) > float(some.mean()) - 1
    assert float((more > rough - 1).float().mean()) >= 0.9


def _start(trained, stamps, shift=0.0):
    index, galaxies = torch.arange(len(stamps)), Galaxies.of(stamps)
    mean, log_variance, frames = posterior_of(trained.encoder, stamps, index, galaxies)
    return (trained.decoder, stamps, index, galaxies, (mean + shift, log_variance), frames)


def test_no_steps_give_the_encoders_guess(trained, stamps):
    start = _start(trained, stamps)
    mean, log_variance = refined_posterior(*start, steps=0)
    torch.testing.assert_close(mean, start[4][0])
    torch.testing.assert_close(log_variance, start[4][1], atol=1e-3, rtol=1e-3)


def test_same_draws_same_posterior_and_networks_untouched(trained, stamps):
    trained.decoder.zero_grad()
    before = {name: value.clone() for name, value in trained.decoder.state_dict().items()}
    found = [
        refined_posterior(*_start(trained, stamps), steps=4, generator=torch.Generator().manual_seed(1))
        for _ in range(2)
    ]
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert not found[0][0].requires_grad
    assert all(parameter.grad is None for parameter in trained.decoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in trained.decoder.state_dict().items())


def test_variances_stay_below_the_priors(trained, stamps):
    _, log_variance = refined_posterior(*_start(trained, stamps), steps=10)
    assert float(log_variance.max()) <= 0
    assert float(log_variance.min()) >= -9.0


def test_a_wrong_start_comes_back(trained, stamps):
    far = refined_posterior(*_start(trained, stamps, shift=1.0), steps=80)[0]
    near = refined_posterior(*_start(trained, stamps), steps=80)[0]
    assert float((far - near).abs().mean()) < 0.5  # of the 1.0 it was off


def test_correlations_tighten_the_bound(trained, stamps):
    some = stamps.subset(list(range(6)))
    galaxies = Galaxies.alone(len(some))
    torch.manual_seed(4)
    plain = evidence_gain(trained.encoder, trained.decoder, some, 16, galaxies, refine=60)["gain"]
    found = evidence_gain(trained.encoder, trained.decoder, some, 16, galaxies, refine=60, correlated=True)
    assert float((found["gain"] - plain).mean()) > 3
    assert float((found["gain"] - plain).min()) > -3
    assert float(found["kl"].min()) > 0
