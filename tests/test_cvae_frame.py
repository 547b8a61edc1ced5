"""The log-polar frame, the layers on it and the measures of structure."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.conditions import Conditions
from skyloom.generators.cvae.fast_grid import FastGrid
from skyloom.generators.cvae.features import FEATURES, OPTIONAL, REFERENCE, STEP, WIDTH, condition_features
from skyloom.generators.cvae.frame import COLUMNS, ROWS, map_coordinates, node_radii, nodes, sample_map
from skyloom.generators.cvae.generator import BATCH
from skyloom.generators.cvae.instrument import GridGeometry, Jitter, grid_points, residual_grid
from skyloom.generators.cvae.net import LATENT_COLUMNS, LATENT_ROWS, Architecture, Decoder
from skyloom.generators.cvae.structure import winding


def _points(r_min: float, r_max: float, n: int = 400) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    r = r_min + (r_max - r_min) * torch.rand(n, generator=generator)
    phi = 2 * math.pi * torch.rand(n, generator=generator)
    return torch.stack([r * torch.cos(phi), r * torch.sin(phi)], -1)[None, None]


def test_a_map_sampled_at_its_own_nodes_is_itself():
    values = torch.randn(2, ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    found = sample_map(values, map_coordinates(nodes()[None].expand(2, -1, -1, -1)))
    torch.testing.assert_close(found, values, atol=2e-4, rtol=0)


@pytest.mark.parametrize("m", [0, 1, 2, 3])
def test_a_smooth_function_of_the_disc_is_sampled_where_it_is(m):
    phi = torch.atan2(nodes()[..., 1], nodes()[..., 0])
    values = (torch.cos(m * phi + 0.3) * torch.exp(-node_radii()[:, None] / 2))[None]
    points = _points(0.2, 4.0)
    r, angle = points.norm(dim=-1), torch.atan2(points[..., 1], points[..., 0])
    torch.testing.assert_close(
        sample_map(values, map_coordinates(points)), torch.cos(m * angle + 0.3) * torch.exp(-r / 2), atol=0.02, rtol=0
    )


def test_the_map_is_continuous_through_the_centre():
    values = nodes()[..., 0][None]  # x itself: odd through the centre
    x = torch.linspace(-0.05, 0.05, 21)
    points = torch.stack([x, torch.zeros_like(x)], -1)[None, None]
    torch.testing.assert_close(sample_map(values, map_coordinates(points))[0, 0], x, atol=0.004, rtol=0)


def test_turned_latents_give_a_turned_face_on_disc():
    torch.manual_seed(0)
    arch = Architecture()
    decoder = Decoder(arch).eval()
    torch.nn.init.normal_(decoder.out.weight, 0, 0.3)
    y = torch.zeros(2, WIDTH)
    y[:, 1] = (0.8 - 0.55) / 0.25
    z = torch.randn(2, arch.latents)
    g = arch.global_latents
    local = z[:, g:].view(2, arch.local_channels, LATENT_ROWS, LATENT_COLUMNS)
    turned = torch.cat([z[:, :g], local.roll(3, 3).flatten(1)], 1)
    with torch.no_grad():
        f, f_turned = decoder(z, y), decoder(turned, y)
    assert f.std() > 0.05
    torch.testing.assert_close(f.roll(3 * COLUMNS // LATENT_COLUMNS, 2), f_turned, atol=1e-4, rtol=1e-4)
    y[:, 1] = (0.2 - 0.55) / 0.25  # an edge-on disc knows its axis
    with torch.no_grad():
        assert (decoder(z, y).roll(3 * COLUMNS // LATENT_COLUMNS, 2) - decoder(turned, y)).abs().max() > 1e-3


def test_f_vanishes_at_the_edge_and_is_round_at_the_centre():
    torch.manual_seed(0)
    decoder = Decoder(Architecture()).eval()
    torch.nn.init.normal_(decoder.out.weight, 0, 0.3)
    with torch.no_grad():
        f = decoder(torch.randn(4, decoder.arch.latents), torch.randn(4, WIDTH))
    assert f.abs().max() <= decoder.arch.f_max
    grid = GridGeometry.of(grid_points(96, 9 / 96, torch.zeros(1)))
    residual = residual_grid(f, grid, torch.full((4,), 0.8))
    border = torch.cat([residual[:, 0], residual[:, -1], residual[:, :, 0], residual[:, :, -1]], 1)
    assert residual.abs().max() > 1e-3
    assert border.abs().max() == 0
    assert f[:, 0].std(dim=1).max() < 0.1 * f[:, 8].std(dim=1).mean()


@pytest.mark.parametrize("sense", [1, -1])
def test_winding_tells_the_sense_of_a_spiral(sense):
    phi = torch.atan2(nodes()[..., 1], nodes()[..., 0])
    u = (torch.arange(ROWS) + 0.5) / ROWS
    spiral = torch.cos(2 * phi + sense * 2 * math.pi * 3 * u[:, None])[None]
    assert sense * float(winding(spiral)) > 0.8
    assert sense * float(winding(spiral.flip(2))) < -0.8
    bar = torch.cos(2 * phi)[None] * torch.ones(ROWS, 1)
    assert abs(float(winding(bar))) < 0.05


@settings(max_examples=25, deadline=None)
@given(q=st.floats(0.1, 1.0), seed=st.integers(0, 1000))
def test_jitter_has_its_inverse(q, seed):
    torch.manual_seed(seed)
    jitter = Jitter(torch.full((3,), q))
    points = torch.randn(3, 4, 5, 2)
    torch.testing.assert_close(jitter.backward(jitter.forward(points)), points, atol=1e-5, rtol=1e-4)


def test_grid_points_put_the_major_axis_along_x():
    angle = torch.tensor([0.7])
    points = grid_points(96, 9 / 96, angle)
    along = torch.tensor([math.cos(0.7), math.sin(0.7)]) * 3.0  # the major axis in the grid's own axes
    column, row = (along / (9 / 96) + 47.5).round().long().tolist()
    x, y = points[0, row, column]
    assert abs(float(y)) < 0.1
    assert abs(float(x) - 3.0) < 0.1


def test_unknown_conditions_are_zero_with_a_flag():
    conditions = Conditions(flux=[1.0, 2.0], half_light_radius=0.4, sersic_n=[1.0, 4.0], q=0.6)
    y = condition_features(conditions)
    assert y.shape == (2, WIDTH)
    for name in OPTIONAL:
        assert (y[:, FEATURES.index(name)] == 0).all()
        assert (y[:, len(FEATURES) + OPTIONAL.index(name)] == 1).all()
    known = condition_features(
        Conditions(mag=22.0, zero_point=24.0, half_light_radius=0.4, sersic_n=1.0, wavelength=800.0, redshift=0.5)
    )
    assert (known[:, len(FEATURES) : STEP] == 0).all()
    assert known[0, STEP] == pytest.approx((math.log(800.0) - 6.9) / 0.6 - REFERENCE, rel=1e-5)
    assert (y[:, STEP] == 0).all()


def test_the_fast_grid_is_the_grid_of_training():
    torch.manual_seed(0)
    grid = GridGeometry.of(grid_points(96, 9 / 96, torch.zeros(1)))
    f, n = torch.randn(BATCH, ROWS, COLUMNS), torch.tensor([0.5, 1.0, 2.0, 4.0, 6.0]).repeat(4)[:BATCH]
    expected = residual_grid(f, grid, n)
    found = FastGrid(grid).residual(f, n)
    assert float((found - expected).abs().max()) < 1e-5 * float(expected.abs().max())
    one = FastGrid(grid).residual(f[2:3].repeat(BATCH, 1, 1), n[2:3].repeat(BATCH))
    assert all(torch.equal(again, found[2]) for again in one)  # whatever its place and company
