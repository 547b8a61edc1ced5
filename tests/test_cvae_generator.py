"""The shipped model as a generator: one frame from latents to the sky, one galaxy in all bands, no preferred axis."""

from pathlib import Path

import galsim
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom import Conditions
from skyloom.errors import BadInputError, CheckpointError
from skyloom.frames import grid_angle
from skyloom.generators.builtin import COSMOS_WEIGHTS
from skyloom.generators.checkpoint import load_checkpoint, save_checkpoint
from skyloom.generators.checks import check_batch
from skyloom.generators.cvae.data import GRID_SCALE, GRID_SIZE
from skyloom.generators.cvae.features import condition_features
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.instrument import GridGeometry, grid_points, residual_grid
from skyloom.generators.cvae.load import load_generator
from skyloom.generators.cvae.structure_gain import GAIN
from skyloom.testing.contract import conditions_within
from skyloom.testing.cutouts import synthetic_cutouts


@pytest.fixture(scope="module")
def model() -> CVAEGenerator:
    return load_generator(COSMOS_WEIGHTS)


def _discs(n: int, **changes: object) -> Conditions:
    usual = {"mag": 21.5, "zero_point": 25.9, "half_light_radius": 0.6, "sersic_n": 1.2, "wavelength": 800.0}
    return Conditions(**{"galaxy_id": np.arange(n), **usual, **changes})


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


@settings(max_examples=10, deadline=None)
@given(q=st.floats(0.2, 1.0), beta=st.floats(-3.2, 3.2))
def test_samples_are_decoded_in_the_frame_of_the_likelihood(model: CVAEGenerator, q: float, beta: float):
    conditions = _discs(3, q=q, beta=beta)
    y, n = condition_features(conditions), torch.full((3,), 1.2)
    angle = torch.from_numpy(grid_angle(conditions.q, conditions.beta)).float()
    noise = torch.randn(3, model.prior.noise_size, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        z, _ = model.prior.draw(y, noise)
        found = model.drawn(model.decoder(z, y), n, angle, torch.zeros(3, dtype=torch.bool)).numpy()
        grid = GridGeometry.of(grid_points(GRID_SIZE, GRID_SCALE, angle))
        expected = residual_grid(model.decoder(z, y), grid, n).numpy()
    assert _correlation(found, expected).min() > 0.999
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize("q", [1.0, 0.4])
@pytest.mark.parametrize("beta", [0.5, -1.1])
def test_beta_turns_the_whole_galaxy(model: CVAEGenerator, q: float, beta: float):
    upright, turned = (model.sample(_discs(96, q=q, beta=b), seed=3) for b in (0.0, beta))
    missed = []
    for a, b in zip(upright, turned, strict=True):
        images = [
            galsim.Convolve(g, galsim.Gaussian(sigma=0.05)).drawImage(nx=64, ny=64, scale=0.05, method="no_pixel").array
            for g in (a.rotate(beta * galsim.radians), b, a.rotate(-beta * galsim.radians))
        ]
        missed.append(np.abs(images[0] - images[1]).max() / images[0].max())
        assert np.linalg.norm(images[2] - images[1]) > 5 * np.linalg.norm(images[0] - images[1])
    # the grid's pixels, 0.09 half-light radii, do not resolve all structure next to a nucleus
    assert np.median(missed) < 0.03
    assert max(missed[:16]) < 0.06  # the largest of more is larger
    assert max(missed) < 0.1


def test_one_galaxy_in_two_bands_and_at_two_inclinations(model: CVAEGenerator):
    def apart(**changes: object) -> np.ndarray:
        """What sets each galaxy apart from the mean of such galaxies, whose profile all share."""
        residual = model.sample(_discs(24, **{"q": 0.9, **changes}), seed=3).residual
        return residual - residual.mean(0)

    seen = apart()
    for changes, least in (({"wavelength": 2000.0}, 0.6), ({"q": 0.6}, 0.8), ({"mag": 22.5}, 0.8)):  # real galaxies: .6
        assert np.median(_correlation(seen, apart(**changes))) > least
    assert abs(np.median(_correlation(seen, apart(galaxy_id=np.arange(24) + 100)))) < 0.25


def test_face_on_discs_have_no_preferred_axis_or_hand(model: CVAEGenerator):
    batch = model.sample(_discs(300), seed=5)
    x = (np.arange(GRID_SIZE) - (GRID_SIZE - 1) / 2) * GRID_SCALE
    xx, yy = np.meshgrid(x, x)
    weight = np.exp(-0.5 * (xx**2 + yy**2))
    for moment in (xx**2 - yy**2, 2 * xx * yy, xx, yy):
        values = (batch.residual * weight * moment).sum((1, 2), dtype=np.float64)
        assert abs(values.mean()) < 4 * values.std() / np.sqrt(len(values))


def test_galaxies_do_not_depend_on_their_order(model: CVAEGenerator):
    conditions = conditions_within(model.spec, 200, seed=7)
    order = np.random.default_rng(0).permutation(200)[:197]
    whole, part = (model.sample(c, seed=3, out_of_range="clip") for c in (conditions, conditions[order]))
    assert np.array_equal(whole.residual[order], part.residual)
    assert np.array_equal(whole.jacobian[order], part.jacobian)


def test_no_galaxies_are_a_batch_of_none(model: CVAEGenerator):
    none = _discs(2)[:0]
    check_batch(model.sample(none, seed=1), none, "cosmos")


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(model: CVAEGenerator, temperature: float):
    with pytest.raises(BadInputError, match="temperature"):
        model.sample(_discs(1), seed=1, temperature=temperature)


def test_held_out_figures_leave_the_caller_s_random_numbers_alone(model: CVAEGenerator):
    cutouts = synthetic_cutouts(2, stamp_size=48)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = model.held_out(cutouts)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(model.held_out(cutouts)["gain"], first["gain"])


def test_a_reconstruction_does_not_depend_on_the_other_cutouts(model):
    cutouts = synthetic_cutouts(3, stamp_size=48, seed=2)
    together, turned = model.reconstruct(cutouts), model.reconstruct(cutouts[::-1])
    np.testing.assert_allclose(together.residual, turned.residual[::-1], atol=1e-4 * np.abs(together.residual).max())
    np.testing.assert_allclose(together.flux, turned.flux[::-1], rtol=1e-4)
    alone = model.reconstruct(cutouts[1:2])
    np.testing.assert_allclose(together.residual[1], alone.residual[0], atol=1e-4 * np.abs(alone.residual).max())


@pytest.mark.parametrize("what", ["family", "grid", "architecture", "entry", "tensor", "gain", "order of gains"])
def test_weights_that_do_not_make_a_model_are_one_message(tmp_path: Path, what: str):
    tensors, card = load_checkpoint(COSMOS_WEIGHTS)
    values = card.to_dict()
    if what == "family":
        values["family"] = "other"
    elif what == "grid":
        values["spec"]["grid_size"] = 64
    elif what == "architecture":
        values["architecture"] = {**values["architecture"], "width": 32}
    elif what == "entry":
        values["architecture"] = {**values["architecture"], "depth": 3}
    elif what == "gain":
        tensors[GAIN] = -tensors[GAIN]
    elif what == "order of gains":
        tensors[GAIN] = tensors[GAIN][::-1].copy()
    else:
        tensors["stray"] = tensors.pop("decoder.out.bias")
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, tensors, values)
    with pytest.raises(CheckpointError, match=r"odd\.safetensors"):
        load_generator(path)
