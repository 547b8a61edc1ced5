"""Training of the flow prior: it learns what posteriors tell, and gives the same losses again, resumed or not."""

import json
from dataclasses import replace

import pytest
import torch

from skyloom.errors import TrainingError
from skyloom.generators.cvae import flow_expectation
from skyloom.generators.cvae.features import FEATURES, WIDTH
from skyloom.generators.cvae.flow_config import FlowConfig
from skyloom.generators.cvae.flow_net import FlowArchitecture
from skyloom.generators.cvae.flow_simulated import fit_latents, simulated_posteriors
from skyloom.generators.cvae.flow_train import FlowTrainer, fit_flow_prior
from skyloom.generators.cvae.measurement import Measurement
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture, Decoder
from skyloom.generators.cvae.prior import Posteriors

ARCH = Architecture(global_latents=2, local_channels=1, fine_channels=0, colour_channels=0)
CONFIG = FlowConfig(
    flow=FlowArchitecture(width=8, blocks=1, context=16, heads=2),
    first_steps=5, steps=4, rounds=2, distil_steps=4, pairs=20, batch=8, levels=3, sampler_steps=2, moves=2,
    checkpoint_every=3,
)  # fmt: skip


def _waves(n: int, noise: float, real: bool) -> Posteriors:
    """Wound m = 2 waves of random phase."""
    phase = 2 * torch.pi * torch.rand(n, 1, 1)
    row = torch.arange(LATENT_ROWS)[None, :, None]
    phi = 2 * torch.pi * torch.arange(LATENT_COLUMNS)[None, None] / LATENT_COLUMNS
    local = 1.4 * torch.cos(2 * phi + 0.7 * row + phase)
    truth = torch.cat([torch.randn(n, 2), local.flatten(1)], 1)
    variance = torch.full_like(truth, noise**2 / (1 + noise**2))
    mean = (truth + noise * torch.randn_like(truth)) / (1 + noise**2)
    y = torch.zeros(n, WIDTH)
    y[:, FEATURES.index("q")] = 1.0
    return Posteriors(mean, variance.log(), y, torch.full((n,), real), _one_by_one(mean, variance))


def _one_by_one(mean: torch.Tensor, variance: torch.Tensor) -> Measurement:
    """Of each latent by itself, the prior divided out."""
    precision = 1 / variance - 1
    value = torch.where(precision > 0, mean / variance / precision.clamp(min=1e-6), 0.0)
    return Measurement(torch.eye(mean.shape[1]).expand(len(mean), -1, -1), precision, value)


def _both(n: int) -> Posteriors:
    torch.manual_seed(3)
    parts = [_waves(n, 0.8, True), _waves(n, 0.1, False)]
    columns = ("mean", "log_variance", "features", "real")
    return Posteriors(*(torch.cat([getattr(p, k) for p in parts]) for k in columns), parts[0].measured)


def _losses(folder) -> list[tuple[str, int, float]]:
    return [tuple(json.loads(line).values()) for line in (folder / "flow.jsonl").read_text().splitlines()]


def test_two_runs_and_a_resumed_one_give_the_same_losses_and_the_same_prior(tmp_path):
    class StopError(Exception):
        pass

    posteriors = _both(30)
    first = fit_flow_prior(posteriors, ARCH, CONFIG, tmp_path / "a")
    torch.manual_seed(99)  # the caller's random numbers do not matter
    fit_flow_prior(posteriors, ARCH, CONFIG, tmp_path / "b")
    assert _losses(tmp_path / "a") == _losses(tmp_path / "b")
    assert len(_losses(tmp_path / "a")) == 5 + 2 * 4 + 4
    for stage, step in (("first", 4), ("round 1", 1), ("round 2", 4), ("distil", 4)):
        folder = tmp_path / f"{stage} {step}"

        def stop(name, done, _loss, where=(stage, step)):
            if (name, done) == where:
                raise StopError

        with pytest.raises(StopError):
            fit_flow_prior(posteriors, ARCH, CONFIG, folder, progress=stop)
        again = fit_flow_prior(posteriors, ARCH, CONFIG, folder, resume=True)
        assert _losses(folder) == _losses(tmp_path / "a"), (stage, step)
        for name, values in first.tensors().items():
            assert torch.equal(values, again.tensors()[name]), (stage, step, name)


def test_a_run_of_another_kind_is_refused(tmp_path):
    posteriors = _both(10)
    fit_flow_prior(posteriors, ARCH, CONFIG, tmp_path)
    with pytest.raises(TrainingError, match="batch 8"):
        fit_flow_prior(posteriors, ARCH, replace(CONFIG, batch=9), tmp_path, resume=True)
    with pytest.raises(TrainingError, match="other posteriors"):
        fit_flow_prior(replace(posteriors, mean=posteriors.mean + 1), ARCH, CONFIG, tmp_path, resume=True)
    (tmp_path / "flow.pt").write_bytes(b"no checkpoint")
    with pytest.raises(TrainingError, match="cannot be read"):
        fit_flow_prior(posteriors, ARCH, CONFIG, tmp_path, resume=True)
    real = _waves(10, 0.5, True)
    with pytest.raises(TrainingError, match="10 and 0"):
        fit_flow_prior(real, ARCH, CONFIG, tmp_path / "other")
    with pytest.raises(TrainingError, match="what stamps tell"):
        fit_flow_prior(replace(posteriors, measured=None), ARCH, CONFIG, tmp_path / "other")


@pytest.mark.parametrize(
    "changes",
    [{"real": 1.0}, {"real": 0.0}, {"batch": 1}, {"rounds": 0}, {"draws": 0}, {"draw_steps": 0}, {"informed": -1.0}],
)
def test_a_flow_that_would_learn_nothing_is_refused(changes):
    with pytest.raises(TrainingError, match=next(iter(changes))):
        replace(CONFIG, **changes)


def test_galaxies_that_tell_nothing_at_all_are_one_message(tmp_path):
    posteriors = _both(4)
    told = posteriors.measured
    blind = replace(posteriors, measured=replace(told, precision=torch.zeros_like(told.precision)))
    with pytest.raises(TrainingError, match="tell anything"):
        fit_flow_prior(blind, ARCH, CONFIG, tmp_path)


def test_without_distillation_the_student_is_the_teacher(tmp_path):
    prior = fit_flow_prior(_both(4), ARCH, replace(CONFIG, distil_steps=0), tmp_path)
    assert prior.steps == 0
    for name, value in prior.teacher.state_dict().items():
        assert torch.equal(value, prior.student.state_dict()[name])


def test_galaxies_that_say_nothing_hardly_count(tmp_path):
    posteriors = _both(10)
    told = replace(posteriors.measured, precision=posteriors.measured.precision.clone())
    told.precision[0] = 0.0
    silent = replace(posteriors, measured=told)
    weight = FlowTrainer(silent, ARCH, CONFIG, tmp_path, torch.full((20,), 0.5)).weight
    assert float(weight[0]) == 0
    assert 0.02 < float(weight[1]) < 0.5
    assert float(weight[-1]) == 0.5


def test_samples_of_galaxies_that_tell_little_are_moved_on_in_noise(tmp_path, monkeypatch):
    torch.manual_seed(3)
    parts = [_waves(50, 2.0, True), _waves(10, 0.1, True), _waves(5, 0.1, False)]
    told = Measurement.cat([parts[0].measured, parts[1].measured])
    assert float(told.nats()[:50].max()) < 60 < float(told.nats()[50:].min())
    columns = ("mean", "log_variance", "features", "real")
    posteriors = Posteriors(*(torch.cat([getattr(p, k) for p in parts]) for k in columns), told)
    moved = []

    def record(velocity, z, log_likelihood, *, moves, generator):
        moved.append(log_likelihood(posteriors.mean[:50]))
        assert moves == CONFIG.moves
        return torch.full_like(z, 7.0)

    monkeypatch.setattr(flow_expectation, "moved_in_noise", record)
    trainer = FlowTrainer(posteriors, ARCH, replace(CONFIG, rounds=1, distil_steps=1), tmp_path)
    trainer.run()
    order = told.nats().argsort()[:50]
    assert len(moved) == CONFIG.draws
    torch.testing.assert_close(moved[0], told[order].log_likelihood(posteriors.mean[:50]))
    assert torch.equal((trainer.samples == 7.0).all(2), (torch.arange(60) < 50).expand(CONFIG.draws, -1))


@pytest.mark.slow
def test_a_flow_learns_waves_that_noisy_posteriors_show(tmp_path):
    config = replace(
        CONFIG, flow=FlowArchitecture(width=16, blocks=1, context=32, heads=2), first_steps=200, steps=100, rounds=1,
        distil_steps=200, pairs=256, batch=32, levels=12, sampler_steps=4, informed=1.0, learning_rate=4e-3, ema=0.98,
    )  # fmt: skip
    prior = fit_flow_prior(_both(200), ARCH, config, tmp_path)
    torch.manual_seed(4)
    y = torch.zeros(256, WIDTH)
    y[:, FEATURES.index("q")] = 1.0
    noise = torch.randn(256, prior.noise_size)
    for drawn in (prior, replace(prior, steps=0)):
        local = drawn.draw(y, noise)[0][:, 2:].view(-1, LATENT_ROWS, LATENT_COLUMNS)
        modes = torch.fft.rfft(local, dim=2, norm="ortho")
        power = modes.abs().square().mean((0, 1))
        assert 0.6 < float(power[2]) / (1.4**2 / 4 * LATENT_COLUMNS) < 1.4
        assert float(power[[1, 3, 4, 5]].max()) < 0.25 * float(power[2])
        # one phase a galaxy, every row 0.7 rad on: a wave, not mottle of its power
        phase = modes[:, :, 2] * torch.polar(torch.ones(1), -0.7 * torch.arange(LATENT_ROWS))
        assert float((phase.sum(1).abs() / phase.abs().sum(1)).mean()) > 0.8


def test_latents_of_a_known_map_draw_it():
    torch.manual_seed(5)
    arch = Architecture(global_latents=2, local_channels=1, fine_channels=0, colour_channels=0, width=16)
    decoder = Decoder(arch).eval()
    for weights in decoder.out.parameters():
        weights.data *= 20
    truth, y = torch.randn(4, arch.latents), torch.randn(4, WIDTH)
    f = decoder(truth, y).detach()
    mean, log_variance, missed = fit_latents(decoder, f[:, None], y[:, None], steps=200, error=0.02)
    assert float(missed.max()) < 0.35 * float(f.std())
    assert float(log_variance.max()) <= 0
    assert float(log_variance.exp().mean()) < 0.9
    assert all(p.requires_grad for p in decoder.parameters())
    told = log_variance.exp() < 0.1
    assert float(((mean - truth)[told]).abs().mean()) < 0.5 * float(truth[told].abs().mean())


def test_samples_of_a_known_map_draw_it_within_the_error():
    torch.manual_seed(5)
    arch = Architecture(
        global_latents=2, local_channels=4, fine_channels=0, colour_channels=0, width=16
    )  # channels that do the same
    decoder = Decoder(arch).eval()
    for weights in decoder.out.parameters():
        weights.data *= 20
    y = torch.randn(4, WIDTH)
    f = decoder(torch.randn(4, arch.latents), y).detach()
    mean, log_variance, _ = fit_latents(decoder, f[:, None], y[:, None], error=0.02)
    with torch.no_grad():
        drawn = decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp(), y)
        assert 0.01 < float((drawn - decoder(mean, y)).square().mean().sqrt()) < 0.03


def test_simulated_posteriors_repeat():
    torch.manual_seed(6)
    decoder = Decoder(ARCH).eval()
    n, q, y = torch.full((4,), 1.0), torch.full((4,), 0.9), torch.zeros(4, WIDTH)
    first = simulated_posteriors(decoder, n, q, y, steps=3, seed=1)
    state = torch.get_rng_state()
    again = simulated_posteriors(decoder, n, q, y, steps=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's random numbers are not ours
    assert torch.equal(first.mean, again.mean)
    assert not first.real.any()
