"""Skyloom's types in GalSim's configuration, driven as `galsim` drives them, with a made-up generator."""

from __future__ import annotations

import copy
import logging
import subprocess
import sys
import types
from pathlib import Path

import galsim
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

import skyloom
from skyloom.descriptors import GeneratorEntry
from skyloom.errors import BadInputError, ConditionsError, ConfigError, ModelNotFoundError, OutOfRangeError
from skyloom.frames import profile_jacobian
from skyloom.galsim_config.identity import run_seed
from skyloom.galsim_config.threads import keep_one_thread, one_torch_thread
from skyloom.generators.ranges import apply_policy
from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager
from skyloom.normalise import dilation, sersic_profile
from skyloom.profiles import GeneratorSpec, ProfileBatch
from skyloom.rng import galaxy_rng

GRID, SCALE = 32, 0.25
SPEC = GeneratorSpec(
    name="knots", ranges={"half_light_radius": (0.1, 2.0)}, grid_size=GRID, grid_scale=SCALE,
    weights_sha256="0123456789ab" + 52 * "f",
)  # fmt: skip


class Knots:
    """A Sersic with one off-centre knot, whose place follows the galaxy's own stream."""

    spec = SPEC

    def sample(self, conditions, *, seed, out_of_range="error"):
        drawn, drawn_from, parametric = apply_policy(conditions, SPEC, out_of_range)
        axis = (np.arange(GRID) - (GRID - 1) / 2) * SCALE
        x, y = np.meshgrid(axis, axis)
        residual = np.empty((len(conditions), GRID, GRID), np.float32)
        for row, galaxy_id in enumerate(conditions.galaxy_id):
            dx, dy = galaxy_rng(seed, int(galaxy_id), "latent").uniform(-1, 1, 2)
            knot = np.exp(-((x - dx) ** 2 + (y - dy) ** 2) / 0.3)
            residual[row] = knot * sersic_profile(np.hypot(x, y), conditions.sersic_n[row])
            residual[row] *= drawn.half_light_radius[row]  # so that a clipped size can be seen
        residual[parametric] = 0
        size = conditions.half_light_radius / dilation(residual, SCALE, conditions.sersic_n)
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id, sersic_n=conditions.sersic_n, flux=conditions.flux,
            half_light_radius=conditions.half_light_radius, q=conditions.q, beta=conditions.beta,
            jacobian=profile_jacobian(size, conditions.q, conditions.beta), residual=residual,
            grid_scale=SCALE, drawn_from=drawn_from, generator="knots", seed=seed,
            weights_sha256=SPEC.weights_sha256,
        )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _knots():
    plugin = types.SimpleNamespace(
        skyloom_generators=hookimpl(specname="skyloom_generators")(
            lambda: [GeneratorEntry("knots", spec=SPEC, factory=Knots)]
        )
    )
    manager = plugin_manager()
    manager.register(plugin, name="knots for tests")
    yield
    manager.unregister(plugin)


VALUE = {"type": "LearnedGalaxyValue"}
GAL = {
    "type": "LearnedGalaxy",
    "mag": 21.0,
    "half_light_radius": 0.5,
    "sersic_n": 1.2,
    "q": 0.7,
    "beta": "30 deg",
}


def config(tmp_path: Path, **sections):
    base = {
        "modules": ["skyloom"],
        "input": {"learned_galaxies": {"model": "knots", "zero_point": 30.0}},
        "psf": {"type": "Gaussian", "fwhm": 0.2},
        "gal": dict(GAL),
        "image": {
            "type": "Tiled", "nx_tiles": 3, "ny_tiles": 2, "stamp_size": 24, "pixel_scale": 0.15,
            "random_seed": 12345,
        },
        "output": {"dir": str(tmp_path), "file_name": "image.fits"},
    }  # fmt: skip
    for name, value in sections.items():
        base[name] = {**base[name], **value}
    return base


def build(tmp_path: Path, logger=None, **sections) -> np.ndarray:
    """Pixels of the one image of a configuration."""
    galsim.config.Process(config(tmp_path, **sections), logger)
    return fits.getdata(tmp_path / "image.fits")


def tiles(image: np.ndarray) -> list[np.ndarray]:
    return [image[24 * j : 24 * j + 24, 24 * i : 24 * i + 24] for j in range(2) for i in range(3)]


def test_constant_conditions_give_different_galaxies(tmp_path):
    stamps = tiles(build(tmp_path))
    for i in range(6):
        for j in range(i):
            assert np.abs(stamps[i] - stamps[j]).max() > 0.01 * stamps[i].max()


def test_one_id_is_one_galaxy_and_another_id_another(tmp_path):
    ids = {"type": "List", "items": [7, 7, 8, 7, 9, 8]}
    stamps = tiles(build(tmp_path, gal={"galaxy_id": ids}))
    assert np.array_equal(stamps[0], stamps[1])
    assert np.array_equal(stamps[0], stamps[3])
    assert np.array_equal(stamps[2], stamps[5])
    assert np.abs(stamps[0] - stamps[2]).max() > 0.01 * stamps[0].max()
    assert np.abs(stamps[2] - stamps[4]).max() > 0.01 * stamps[0].max()


@pytest.mark.parametrize("galaxy_id", [None, {"type": "Sequence", "first": 40}])
def test_pixels_follow_the_seed_and_not_the_processes(tmp_path, galaxy_id):
    gal = {} if galaxy_id is None else {"galaxy_id": galaxy_id}
    noise = {"type": "Gaussian", "sigma": 1.0}
    image = {**config(tmp_path)["image"], "noise": noise}
    first = build(tmp_path, gal=dict(gal), image=dict(image))
    again = build(tmp_path, gal=dict(gal), image=dict(image))
    forked = build(tmp_path, gal=dict(gal), image={**image, "nproc": 2})
    plain = build(tmp_path, gal=dict(gal))
    other = build(tmp_path, gal=dict(gal), image={"random_seed": 54321})
    assert np.array_equal(first, again)
    assert np.array_equal(first, forked)
    assert np.abs(other - plain).max() > 0.01 * plain.max()


def test_the_same_galaxies_in_every_file_and_job(tmp_path):
    def output(**more):
        return {"nfiles": 2, "file_name": {"type": "NumberedFile", "root": "f", "num": "$file_num"}, **more}

    gal = {"galaxy_id": {"type": "Sequence", "first": 1, "index_key": "obj_num_in_file"}}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    galsim.config.Process(config(tmp_path / "a", gal=gal, output=output(dir=str(tmp_path / "a"))))
    a0, a1 = (fits.getdata(tmp_path / "a" / f"f{i}.fits") for i in (0, 1))
    assert np.array_equal(a0, a1)
    for job in (1, 2):
        setup = config(tmp_path / "b", gal=copy.deepcopy(GAL), output=output(dir=str(tmp_path / "b")))
        galsim.config.Process(setup, njobs=2, job=job)
    galsim.config.Process(config(tmp_path / "a", output=output(dir=str(tmp_path / "a"), nproc=2)))
    for i in (0, 1):
        one = fits.getdata(tmp_path / "a" / f"f{i}.fits")
        assert np.array_equal(one, fits.getdata(tmp_path / "b" / f"f{i}.fits"))
    assert not np.array_equal(fits.getdata(tmp_path / "a" / "f0.fits"), fits.getdata(tmp_path / "a" / "f1.fits"))


def test_a_repeated_second_seed_gives_galaxies_without_ids_again(tmp_path):
    seeds = [12345, {"type": "Sequence", "first": 9, "index_key": "obj_num_in_file"}]
    setup = config(
        tmp_path,
        gal={"rng_num": 1},
        image={"random_seed": seeds},
        output={"nfiles": 2, "file_name": {"type": "NumberedFile", "root": "f", "num": "$file_num"}},
    )
    galsim.config.Process(setup)
    assert np.array_equal(fits.getdata(tmp_path / "f0.fits"), fits.getdata(tmp_path / "f1.fits"))


@pytest.mark.parametrize("draw_method", ["auto", "phot"])
@pytest.mark.parametrize("kind", ["Single", "Tiled", "Scattered"])
def test_image_types_and_photon_shooting(tmp_path, kind, draw_method):
    image = {"type": kind, "pixel_scale": 0.15, "random_seed": 3}
    image |= {
        "Single": {"size": 48},
        "Tiled": {"nx_tiles": 2, "ny_tiles": 1, "stamp_size": 48},
        "Scattered": {
            "size": 96,
            "nobjects": 2,
            "image_pos": {"type": "XY", "x": "$30+30*(obj_num%2)", "y": 48},
        },
    }[kind]
    setup = config(tmp_path)
    setup["image"], setup["stamp"] = image, {"draw_method": draw_method}
    galsim.config.Process(setup)
    pixels = fits.getdata(tmp_path / "image.fits")
    number = 1 if kind == "Single" else 2
    assert pixels.sum() == pytest.approx(number * 10 ** (-0.4 * (21.0 - 30.0)), rel=0.06)


def gsobject(gal, **inputs):
    base = config(Path("."), gal=gal)
    base["input"]["learned_galaxies"].update(inputs)
    base["obj_num"] = 5
    galsim.config.SetupInput(base)
    return galsim.config.BuildGSObject(base, "gal")


def test_flux_and_transformations_are_applied_once():
    extra = {"galaxy_id": 3, "lens": {"shear": {"type": "G1G2", "g1": 0.1, "g2": 0.0}, "mu": 1.3}}
    conditions = skyloom.Conditions(
        galaxy_id=[3], mag=21.0, zero_point=30.0, half_light_radius=0.5, sersic_n=1.2, q=0.7, beta=np.pi / 6
    )
    expected = skyloom.load_model("knots").sample(conditions, seed=99)[0]
    plain, safe = gsobject({"galaxy_id": 3}, seed=99)
    assert plain == expected
    assert not safe
    lensed, _ = gsobject(extra, seed=99)
    assert lensed == expected.lens(0.1, 0.0, 1.3)
    assert lensed.flux == pytest.approx(1.3 * 10**3.6, rel=1e-6)
    gal = {**GAL, **extra, "flux": 50.0}
    del gal["mag"]
    base = config(Path("."))
    base["gal"] = gal
    galsim.config.SetupInput(base)
    assert galsim.config.BuildGSObject(base, "gal")[0].flux == pytest.approx(65.0, rel=1e-6)


def test_gsparams_and_redshift_reach_the_galaxy():
    built, _ = gsobject({"galaxy_id": 3, "redshift": 0.7, "gsparams": {"folding_threshold": 1e-3}})
    assert built.gsparams.folding_threshold == 1e-3
    assert built.redshift == 0.7


def test_truth_columns(tmp_path):
    fields = ("galaxy_id", "flux", "mag", "beta", "redshift", "drawn_from", "weights")
    columns = {name: {"type": "LearnedGalaxyValue", "field": name} for name in fields}
    columns["asked"] = "gal.half_light_radius"
    truth = {"file_name": "truth.fits", "columns": columns}
    for nproc in (1, 2):
        build(tmp_path, output={"truth": copy.deepcopy(truth)}, image={"nproc": nproc})
        table = Table.read(tmp_path / "truth.fits")
        assert len(set(table["galaxy_id"])) == 6
        assert np.allclose(table["flux"], 10**3.6)
        assert np.allclose(table["beta"], np.pi / 6)
        assert np.all(table["mag"] == 21.0)
        assert table["redshift"].mask.all()  # NaN in the file
        assert set(table["drawn_from"]) == {"learned"}
        assert set(table["weights"]) == {SPEC.weights_sha256}
        assert np.all(table["asked"] == 0.5)


def test_a_drawn_id_names_the_galaxy(tmp_path):
    columns = {name: {"type": "LearnedGalaxyValue", "field": name} for name in ("galaxy_id", "seed")}
    image = build(tmp_path, output={"truth": {"file_name": "truth.fits", "columns": columns}})
    row = Table.read(tmp_path / "truth.fits")[4]
    gal = {**GAL, "galaxy_id": int(row["galaxy_id"])}
    again = build(tmp_path, gal=gal, image={"random_seed": 1}, input={
        "learned_galaxies": {"model": "knots", "zero_point": 30.0, "seed": int(row["seed"])},
    })  # fmt: skip
    assert np.array_equal(tiles(again)[0], tiles(image)[4])


def test_values_of_galaxies_in_a_sum(tmp_path):
    gal = {"type": "Add", "items": [dict(GAL), {**GAL, "mag": 22.0}]}
    columns = {
        f"{name}{i}": {"type": "LearnedGalaxyValue", "field": name, "gal": f"gal.items.{i}"}
        for i in (0, 1)
        for name in ("mag", "galaxy_id")
    }
    setup = config(tmp_path, output={"truth": {"file_name": "truth.fits", "columns": columns}})
    setup["gal"] = gal
    galsim.config.Process(setup)
    table = Table.read(tmp_path / "truth.fits")
    assert set(table["mag0"]) == {21.0}
    assert set(table["mag1"]) == {22.0}
    assert not set(table["galaxy_id0"]) & set(table["galaxy_id1"])


def test_out_of_range_policies(tmp_path):
    gal = {"half_light_radius": 2.5, "galaxy_id": 17}
    with pytest.raises(OutOfRangeError, match=r"^object 0, galaxy 17: half_light_radius = 2.5 is outside \[0.1, 2\]"):
        build(tmp_path, gal=gal)
    columns = {"drawn_from": {"type": "LearnedGalaxyValue", "field": "drawn_from"}}
    images = {}
    for policy, word in (("clip", "clipped"), ("parametric", "parametric")):
        images[policy] = build(
            tmp_path,
            gal=dict(gal),
            input={"learned_galaxies": {"model": "knots", "zero_point": 30.0, "out_of_range": policy}},
            output={"truth": {"file_name": "truth.fits", "columns": columns}},
        )
        assert set(Table.read(tmp_path / "truth.fits")["drawn_from"]) == {word}
    assert np.abs(images["clip"] - images["parametric"]).max() > 0.01 * images["clip"].max()
    sersic = {"type": "Sersic", "n": 1.2, "half_light_radius": 2.5, "flux": 10**3.6}
    setup = config(tmp_path)
    setup["gal"] = {**sersic, "shear": {"type": "QBeta", "q": 0.7, "beta": "30 deg"}}
    galsim.config.Process(setup)
    expected = fits.getdata(tmp_path / "image.fits")
    assert np.abs(images["parametric"] - expected).max() < 1e-3 * expected.max()


@pytest.mark.parametrize(
    ("sections", "error", "message"),
    [
        ({"input": {"learned_galaxies": {"modle": "x"}}}, ConfigError,
         r"input.learned_galaxies: unknown key 'modle' \(did you mean 'model'\?\); it takes model, out_of_"),
        ({"input": {"learned_galaxies": {"model": "nonesuch"}}}, ModelNotFoundError, "nonesuch.*knots"),
        ({"input": {"learned_galaxies": {"model": "knots", "out_of_range": "maybe"}}}, ConfigError,
         "out_of_range must be one of error, clip, parametric, not 'maybe'"),
        ({"input": {"learned_galaxies": {"model": "knots", "seed": -1}}}, BadInputError, "seed must lie in"),
        ({"gal": {"sersic": 2}}, ConfigError, r"type LearnedGalaxy\): unknown key 'sersic' .*'sersic_n'"),
        ({"gal": {"flux": 2}}, ConfigError, "exactly one of 'mag' and 'flux'"),
        ({"gal": {"half_light_radius": -1, "galaxy_id": 4}}, ConditionsError,
         r"^object 0, galaxy 4: column 'half_light_radius': -1.0 is not within"),
        ({"input": {"learned_galaxies": {"model": "knots"}}}, ConditionsError, "needs 'zero_point'"),
        ({"output": {"truth": {"file_name": "t.fits", "columns": {"a": {**VALUE, "field": "n"}}}}},
         ConfigError, "no field 'n'; there are galaxy_id"),
        ({"output": {"provenance": {"when": 3}}}, ConfigError, "output.provenance: unknown key 'when'"),
    ],
)  # fmt: skip
def test_mistakes_get_one_clear_message(tmp_path, sections, error, message):
    with pytest.raises(error, match=message):
        build(tmp_path, **sections)


def test_value_without_a_galaxy(tmp_path):
    setup = config(tmp_path, output={
        "truth": {"file_name": "t.fits", "columns": {"a": {"type": "LearnedGalaxyValue", "field": "flux"}}}
    })  # fmt: skip
    setup["gal"] = {"type": "Gaussian", "sigma": 1}
    with pytest.raises(ConfigError, match="no learned galaxy has been drawn in 'gal'"):
        galsim.config.Process(setup)


class Lines(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def logged(run) -> list[str]:
    logger, lines = logging.Logger("test", logging.WARNING), Lines()
    logger.addHandler(lines)
    run(logger)
    return lines.lines


def test_one_line_an_image_names_model_and_weights(tmp_path):
    output = {"type": "MultiFits", "nimages": 2, "file_name": "image.fits"}
    lines = logged(lambda logger: galsim.config.Process(config(tmp_path, output=output), logger))
    ours = [line for line in lines if "skyloom" in line]
    assert ours == [
        f"Image {i}: galaxies by knots (weights 0123456789ab), skyloom {skyloom.__version__}" for i in (0, 1)
    ]


def test_provenance_header(tmp_path):
    provenance = {"zero_point": 30.0, "gain": 2, "exptime": "$100. + 5", "filter": "VIS"}
    for image in ({"nproc": 1}, {"nproc": 2}):
        build(tmp_path, output={"provenance": dict(provenance)}, image=image)
        header = fits.getheader(tmp_path / "image.fits")
        assert (header["ZEROPNT"], header["GAIN"], header["EXPTIME"], header["FILTER"]) == (
            30.0,
            2.0,
            105.0,
            "VIS",
        )
        assert (header["MODEL"], header["WEIGHTS"], header["OUTRANGE"]) == (
            "knots",
            SPEC.weights_sha256,
            "error",
        )
        assert (header["SKYLOOM"], header["GALSIM"]) == (skyloom.__version__, galsim.__version__)
        assert header["SEED"] == 12345
        assert header["GALSEED"] == run_seed({"image": {"random_seed": 12345}})


def test_names_of_galsim_hub(tmp_path):
    setup = config(tmp_path, output={
        "truth": {"file_name": "truth.fits", "columns": {
            name: {"type": "LearnedGalaxyValue", "field": name}
            for name in ("flux", "half_light_radius", "redshift", "sersic_n", "q", "beta", "zero_point")
        }},
    })  # fmt: skip
    setup["input"] = {"generative_model": {"file_name": "knots"}}
    hub = {"type": "GenerativeModelGalaxy", "flux_radius": 10.0, "mag_auto": 22.0, "zphot": 0.5}
    setup["gal"] = dict(hub)
    lines = logged(lambda logger: galsim.config.Process(setup, logger))
    (note,) = [line for line in lines if line.startswith("The names of galsim_hub")]
    assert "learned_galaxies" in note
    assert "half_light_radius" in note
    table = Table.read(tmp_path / "truth.fits")
    assert np.allclose(table["half_light_radius"], 0.3)
    assert np.allclose(table["flux"], 10 ** (-0.4 * (22.0 - 25.94)))
    assert np.all(table["redshift"] == 0.5)
    for name, low, high in (("sersic_n", 0.5, 4.0), ("q", 0.2, 1.0), ("beta", 0.0, np.pi)):
        assert len(set(table[name])) == 6
        assert np.all((table[name] >= low) & (table[name] <= high))
    first = fits.getdata(tmp_path / "image.fits")
    setup["gal"] = dict(hub)
    setup["image"]["nproc"] = 2
    galsim.config.Process(setup)
    assert np.array_equal(first, fits.getdata(tmp_path / "image.fits"))


def test_galsim_hub_refuses_what_it_does_not_know(tmp_path):
    setup = config(tmp_path)
    setup["input"] = {"generative_model": {"file_name": "knots"}}
    setup["gal"] = {"type": "GenerativeModelGalaxy", "flux_radius": 10.0, "mag": 22.0}
    with pytest.raises(ConfigError, match="unknown key 'mag'"):
        galsim.config.Process(setup)


@given(st.integers(min_value=1, max_value=2**31 - 1))
def test_run_seed_is_the_same_before_and_after_galsim_replaced_random_seed(number):
    base = {"image": {"random_seed": number}, "index_key": "obj_num", "obj_num": 4}
    before = run_seed(base)
    galsim.config.SetupConfigRNG(base)
    assert isinstance(base["image"]["random_seed"], dict)
    assert run_seed(base) == before
    assert run_seed({"image": {"random_seed": [number, 17]}}) == before
    assert run_seed({"image": {"random_seed": f"${number - 1} + 1"}}) == before


def test_run_seed_without_random_seed_is_one_a_process():
    assert run_seed({}) == run_seed({"image": {}})


def test_one_torch_thread_gives_the_number_back():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(2)
    with one_torch_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2
    keep_one_thread()
    assert torch.get_num_threads() == 1


FORK = """
import sys, types, galsim, torch
sys.modules["threadpoolctl"] = None  # where it is installed, GalSim uses it and saves us by chance
from skyloom.descriptors import GeneratorEntry
from skyloom.frames import profile_jacobian
from skyloom.galsim_config import threads
from skyloom.hookspecs import hookimpl
from skyloom.manager import plugin_manager
from skyloom.profiles import GeneratorSpec, ProfileBatch

def work():
    image, kernel = torch.ones(8, 16, 128, 128), torch.ones(16, 16, 3, 3)
    return float(torch.nn.functional.conv2d(image, kernel).sum())

class Torchy:
    spec = GeneratorSpec(name="torchy")
    def sample(self, c, *, seed, out_of_range="error"):
        work()
        return ProfileBatch(c.galaxy_id, c.sersic_n, c.flux, c.half_light_radius, c.q, c.beta,
                            profile_jacobian(c.half_light_radius, c.q, c.beta), generator="torchy", seed=seed)

plugin_manager().register(types.SimpleNamespace(skyloom_generators=hookimpl(specname="skyloom_generators")(
    lambda: [GeneratorEntry("torchy", spec=Torchy.spec, factory=Torchy)])), name="torchy")
torch.set_num_threads(2)
work()  # starts the thread pool
galsim.config.Process({
    "modules": ["skyloom"], "input": {"learned_galaxies": {"model": "torchy"}},
    "gal": {"type": "LearnedGalaxy", "flux": 9, "half_light_radius": 0.5, "sersic_n": 1},
    "image": {"type": "Tiled", "nx_tiles": 2, "ny_tiles": 2, "stamp_size": 16, "pixel_scale": 0.2,
              "random_seed": 1, "nproc": 2},
    "output": {"file_name": sys.argv[1]},
})
assert torch.get_num_threads() == 2
"""


@pytest.mark.slow
def test_workers_do_not_wait_for_threads_that_a_fork_lost(tmp_path):
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "image.fits")],
        check=False,
        timeout=120,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert fits.getdata(tmp_path / "image.fits").sum() > 20
