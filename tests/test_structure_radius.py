"""One galaxy in bands of different size: its structure stays where it is on the sky."""

import types
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import galsim
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates as interpolated

from skyloom import Conditions, load_model
from skyloom.cli.main import run
from skyloom.errors import ConditionsError
from skyloom.frames import axis_angle, grid_angle, profile_jacobian
from skyloom.generators.builtin import COSMOS_WEIGHTS
from skyloom.generators.checkpoint import load_checkpoint
from skyloom.generators.cvae import amplitude
from skyloom.generators.cvae.flow_net import FlowArchitecture, VelocityNet
from skyloom.generators.cvae.flow_prior import FlowPrior
from skyloom.generators.cvae.frame import COLUMNS, ROWS, node_radii, nodes, outer_edge
from skyloom.generators.cvae.generator import CVAEGenerator
from skyloom.generators.cvae.net import Architecture, Encoder
from skyloom.generators.cvae.structure_scale import SCALES, scaled_maps, shared_conditions, structure_scale
from skyloom.physics.sersic import sersic_surface_brightness
from skyloom.profiles import GeneratorSpec, ProfileBatch
from skyloom.validate.counterparts import asked_conditions
from skyloom.validate.counterparts_shape import shared_radii
from skyloom.validate.reencoded_colour import colour_figures

from .validate_samples import make_cutout

N = 16
PHI = np.linspace(0, 2 * np.pi, 96, endpoint=False)
BOTH = (0.5, 0.7)  # arcsec, in two bands


class Arms(torch.nn.Module):
    """Latents to wound arms, the same in all bands; wound, or a Sersic fit would take them for its own shape."""

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.maps(z, y)[0]

    def maps(self, z: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        r, phi = nodes().norm(dim=-1), torch.atan2(nodes()[..., 1], nodes()[..., 0])
        f = torch.zeros(len(z), ROWS, COLUMNS)
        for j, m in enumerate((2, 3, 5)):
            strength, wound, turn = (z[:, 3 * j + k, None, None] for k in range(3))
            f = f + 0.2 * (1 + strength.tanh()) * torch.cos(m * phi + (3 + wound) * torch.log(r + 0.3) + 3 * turn)
        f = f * outer_edge(r) * r**2 / (r**2 + 0.1)
        return f, f


@pytest.fixture(scope="module")
def model() -> CVAEGenerator:
    torch.manual_seed(5)
    arch = Architecture()
    flow = VelocityNet(arch, FlowArchitecture(width=8, blocks=1, context=16, heads=2)).eval().requires_grad_(False)
    prior = FlowPrior(arch, flow, flow, steps=2)
    return CVAEGenerator(Encoder(arch), Arms(), prior, load_checkpoint(COSMOS_WEIGHTS)[1])


def _discs(**changes: object) -> Conditions:
    usual = {"mag": 21.5, "zero_point": 25.9, "half_light_radius": 0.5, "sersic_n": 1.2, "wavelength": 800.0}
    return Conditions(**{"galaxy_id": np.arange(N), **usual, **changes})


def _on_the_sky(batch: ProfileBatch) -> np.ndarray:
    """What depends on azimuth of the log residual, at 0.25 to 1.2 arcsec from the centres of round galaxies."""
    found, radii = [], np.linspace(0.25, 1.2, 20)
    for residual, jacobian in zip(batch.residual, batch.jacobian, strict=True):
        r = (radii / jacobian[0, 0])[:, None]
        places = np.array([r * np.sin(PHI), r * np.cos(PHI)]) / batch.grid_scale + (len(residual) - 1) / 2
        light = sersic_surface_brightness(torch.tensor(1.2), torch.from_numpy(r)).numpy()
        f = np.log1p(np.maximum(interpolated(residual.astype(float), places, order=3) / light, -0.95))
        found.append((f - f.mean(1, keepdims=True)).ravel())
    return np.array(found)


def _correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


def test_structure_stays_on_the_sky_when_the_size_changes(model: CVAEGenerator):
    def alike(**changes):
        bands = [_on_the_sky(model.sample(_discs(half_light_radius=r, **changes), seed=2)) for r in BOTH]
        return np.median(_correlation(*bands))

    assert alike(structure_radius=0.6) > 0.95
    assert alike(structure_radius=0.5) > 0.95
    assert alike() < 0.75


def test_no_map_is_scaled_without_need(model: CVAEGenerator, monkeypatch: pytest.MonkeyPatch):
    def none_scaled(f, scale):
        assert (scale == 1).all()
        return f

    monkeypatch.setattr(amplitude, "scaled_maps", none_scaled)
    for count in (8, 3):  # 3: a batch filled up
        for changes in ({}, {"structure_radius": 0.5}):
            model.sample(_discs(**changes)[:count], seed=2)
    with pytest.raises(AssertionError):
        model.sample(_discs(structure_radius=0.6), seed=2)


def test_own_radius_given_changes_nothing_to_the_last_bit(model: CVAEGenerator):
    for radius in BOTH:
        plain = model.sample(_discs(half_light_radius=radius), seed=2)
        for own in (radius, np.ma.masked_all(N)):
            same = model.sample(_discs(half_light_radius=radius, structure_radius=own), seed=2)
            assert np.array_equal(same.residual, plain.residual)
            assert np.array_equal(same.jacobian, plain.jacobian)


def test_galaxies_with_and_without_mix(model: CVAEGenerator):
    some = np.ma.array(np.full(N, 0.6), mask=np.arange(N) % 2 == 0)
    mixed = model.sample(_discs(structure_radius=some), seed=2).residual
    assert np.array_equal(mixed[::2], model.sample(_discs(), seed=2).residual[::2])
    assert np.array_equal(mixed[1::2], model.sample(_discs(structure_radius=0.6), seed=2).residual[1::2])
    assert not np.allclose(mixed[1], model.sample(_discs(), seed=2).residual[1], atol=1e-3)


def test_flux_and_size_stay_as_asked(model: CVAEGenerator):
    for galaxy in model.sample(_discs(structure_radius=0.75, q=0.6), seed=2)[:3]:
        image = galaxy.drawImage(nx=600, ny=600, scale=0.02, method="no_pixel").array
        y, x = (np.indices(image.shape) - 299.5) * 0.02
        inside = np.hypot(x * np.sqrt(0.6), y / np.sqrt(0.6)) < 0.5
        assert image.sum() == pytest.approx(galaxy.flux, rel=5e-3)
        assert image[inside].sum() == pytest.approx(0.5 * galaxy.flux, rel=0.01)


def test_one_latent_for_all_bands():
    spec = GeneratorSpec("any", ranges={"half_light_radius": (0.1, 2.0)})
    shared = _discs(half_light_radius=0.4, structure_radius=np.ma.masked_less(np.linspace(0, 3, N), 0.5))
    radius = shared_conditions(shared, spec).half_light_radius
    assert (radius[:2] == 0.4).all()  # masked: its own
    assert radius[5] == pytest.approx(1.0)
    assert radius[-1] == 2.0
    assert shared_conditions(_discs(), spec).half_light_radius[0] == 0.5


@pytest.mark.parametrize("radius", [0.5 / 0.29, 0.5 / 3.1])
def test_a_radius_far_from_the_structure_s_is_refused(model: CVAEGenerator, radius: float):
    given = np.full(N, 0.5)
    given[[3, 7]] = radius
    message = r"^galaxy 3 \(row 3\): half_light_radius = 0.5 arcsec is .* \[0.3, 3\] times it \(and 1 more row\)$"
    with pytest.raises(ConditionsError, match=message):
        model.sample(_discs(structure_radius=given), seed=1)
    # parametric: no structure, nothing to refuse
    found = model.sample(_discs(structure_radius=radius, half_light_radius=100.0), seed=1, out_of_range="parametric")
    assert (found.drawn_from == "parametric").all()
    with pytest.raises(ConditionsError, match=r"galaxy 5 \(row 5\)"):
        structure_scale(_discs(structure_radius=radius), np.array([5, 6]))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_structure_radius_that_is_none_is_one_message(bad: float):
    with pytest.raises(ConditionsError, match=r"^column 'structure_radius', row 0 \(galaxy 0\): .* is not within"):
        _discs(structure_radius=bad)


def test_the_column_goes_where_the_others_go():
    from astropy import units as u

    given = _discs(structure_radius=[600] * N * u.mas)
    assert np.allclose(given.structure_radius, 0.6)
    masked = _discs(structure_radius=np.ma.array(np.full(N, 0.6), mask=np.arange(N) < 3))
    assert np.isnan(masked.structure_radius[:3]).all()
    for kept in (masked.replace(q=0.5), masked[:], Conditions.from_table(dict(masked_table(masked)))):
        assert np.array_equal(kept.structure_radius, masked.structure_radius, equal_nan=True)
    assert "structure_radius" not in _discs().as_dict()


def masked_table(conditions: Conditions) -> dict[str, object]:
    columns = {k: v for k, v in conditions.as_dict().items() if k != "flux"}
    return columns | {"structure_radius": np.ma.masked_invalid(conditions.structure_radius)}


def test_a_generator_without_structure_ignores_it():
    plain, given = (load_model("sersic").sample(_discs(**c), seed=1) for c in ({}, {"structure_radius": 40.0}))
    assert np.array_equal(plain.jacobian, given.jacobian)


# --- the map ---------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(*SCALES), order=st.integers(0, 3))
def test_a_scaled_map_is_the_function_scaled(scale: float, order: int):
    def field(points):
        r, phi = points.norm(dim=-1), torch.atan2(points[..., 1], points[..., 0])
        return torch.cos(order * phi - 1.5 * r) * (r / (r + 0.2)) ** order * outer_edge(r)

    f = field(nodes())[None]
    found = scaled_maps(f, torch.tensor([scale]))[0]
    torch.testing.assert_close(found, field(nodes() * scale), atol=0.035, rtol=0)
    assert not (found[node_radii() * scale > 5.5].abs() > 5e-3).any()


def test_a_map_at_scale_one_is_itself_whatever_its_company():
    f = torch.randn(3, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    assert scaled_maps(f, torch.ones(3)) is f
    found = scaled_maps(f, torch.tensor([1.0, 1.3, 1.0]))
    assert torch.equal(found[::2], f[::2])
    assert torch.equal(found[1], scaled_maps(f[1:2], torch.tensor([1.3]))[0])
    assert float((found[1] - f[1]).abs().max()) > 0.1


# --- the angle -------------------------------------------------------------------------------------------------


@given(st.floats(-30, 30), st.integers(-5, 5))
def test_an_axis_has_one_angle(beta: float, turns: int):
    found = float(axis_angle(beta))
    assert -np.pi / 2 - 1e-8 < found <= np.pi / 2 + 1e-8
    assert abs(np.sin(found - beta)) < 1e-12
    if abs(abs(found) - np.pi / 2) > 1e-8:
        assert float(axis_angle(beta + turns * np.pi)) == pytest.approx(found, abs=1e-12)
        assert float(axis_angle(found)) == found


def test_upright_galaxies_do_not_turn_over_by_rounding():
    upright = np.deg2rad([90, -90, 270, -270]) + np.array([[0], [1e-12], [-1e-12]])
    assert np.allclose(axis_angle(upright), np.pi / 2)


@pytest.mark.parametrize("beta", [0.4, -1.2, np.pi / 2])
def test_beta_and_half_a_turn_more_are_one_galaxy(model: CVAEGenerator, beta: float):
    one, other = (model.sample(_discs(q=0.6, beta=b), seed=2) for b in (beta, beta - np.pi))
    assert np.allclose(one.residual, other.residual, atol=1e-4 * np.abs(one.residual).max())
    images = [b[0].drawImage(nx=48, ny=48, scale=0.08, method="no_pixel").array for b in (one, other)]
    assert np.allclose(*images, atol=1e-4 * images[0].max())
    turned = one[0].rotate(180 * galsim.degrees).drawImage(nx=48, ny=48, scale=0.08, method="no_pixel").array
    assert np.abs(turned - images[0]).max() > 0.01 * images[0].max()  # the structure is lopsided


@given(st.floats(0.1, 1), st.floats(-1.5, 1.5))
def test_the_structure_s_angle_is_still_that_of_the_axis(q: float, beta: float):
    angle = grid_angle(q, axis_angle(beta + np.pi))
    x, y = profile_jacobian(1.0, q, beta) @ [np.cos(angle), np.sin(angle)]
    assert np.cos(np.arctan2(y, x) - beta) == pytest.approx(1.0, abs=1e-9)


# --- drivers ---------------------------------------------------------------------------------------------------


def _config(**gal: object) -> dict[str, object]:
    section = {"type": "LearnedGalaxy", "mag": 21.0, "half_light_radius": 0.5, "sersic_n": 1.2, **gal}
    return {
        "modules": ["skyloom"],
        "input": {"learned_galaxies": {"model": "sersic", "zero_point": 30.0}},
        "gal": section,
        "obj_num": 5,
        "rng": galsim.BaseDeviate(3),
    }


@pytest.mark.parametrize(("given", "truth"), [({"structure_radius": 0.4}, 0.4), ({}, 0.5)])
def test_galsim_configurations_take_it(given: dict[str, object], truth: float):
    base = _config(**given)
    galsim.config.ImportModules(base)
    galsim.config.SetupInput(base)
    galsim.config.BuildGSObject(base, "gal")
    base["asked"] = {"type": "LearnedGalaxyValue", "field": "structure_radius"}
    assert galsim.config.ParseValue(base, "asked", base, float)[0] == truth


def test_the_command_line_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options = ["sample", "--model", "sersic", "--flux", "1e4", "--half-light-radius", "0.5", "--sersic-n", "1"]
    assert run([*options, "--structure-radius", "0.4", "-o", str(tmp_path / "a.h5")]) == 0
    assert run([*options, "--structure-radius", "-1", "-o", str(tmp_path / "b.h5")]) == 2
    assert "structure_radius" in capsys.readouterr().err


# --- validation ------------------------------------------------------------------------------------------------


def test_bands_of_a_galaxy_share_their_median_radius():
    galaxy = make_cutout(3)
    sizes = {"a": 0.2, "b": 0.3, "c": 0.36}
    bands = [
        replace(galaxy, band=band, wavelength=500.0 + k, fit=replace(galaxy.fit, half_light_radius=size))
        for k, (band, size) in enumerate(sizes.items())
    ]
    assert shared_radii(bands) == {(galaxy.source, 3): pytest.approx(0.3)}
    wrong = replace(bands[0], fit=replace(galaxy.fit, half_light_radius=0.05))
    assert shared_radii([wrong, *bands[1:]]) == {}
    shared = {(galaxy.source, 3): 0.3}
    assert asked_conditions(bands[:1], shared).structure_radius.tolist() == [0.3]
    assert np.isnan(asked_conditions([bands[0], make_cutout(4)], shared).structure_radius[1])
    assert asked_conditions(bands[:1]).structure_radius is None


def test_the_colour_metric_asks_for_one_structure():
    class Asked:
        spec = GeneratorSpec("asked")
        radii: ClassVar[list[float]] = []

        def sample(self, conditions, *, seed, out_of_range="error"):
            self.radii.extend(conditions.structure_radius)
            return load_model("sersic").sample(conditions, seed=seed)

    galaxy = make_cutout(3)
    real = [
        replace(galaxy, band=f"{k}", wavelength=500.0 + k, fit=replace(galaxy.fit, half_light_radius=size))
        for k, size in enumerate((0.4, 0.5, 0.55))
    ]
    encoder = types.SimpleNamespace(encode_maps=lambda cutouts: np.ones((len(cutouts), ROWS, COLUMNS)))
    colour_figures(encoder, Asked(), real, lambda batch: [galaxy.fit for _ in batch])
    assert Asked.radii == pytest.approx([0.5] * 3)
