"""What a render says of its files: headers, truth tables, receipts, summary, progress, quick-look."""

from __future__ import annotations

import hashlib
import io
import json
import logging

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib.image import imread

from skyloom.render import render_config
from skyloom.render.build import Outcome
from skyloom.render.documents import differences
from skyloom.render.products import pixel_sha256
from skyloom.render.progress import BarReporter, LineReporter, QuietReporter, reporter_for
from skyloom.render.quicklook import stretch
from skyloom.render.receipts import Origin
from skyloom.render.tasks import Task

from .render_fields import CONFIG, FILES, PLAIN, write_field


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    wcs = {"type": "Tan", "dudx": 0.2, "dudy": 0, "dvdx": 0, "dvdy": 0.2, "units": "arcsec",
           "ra": "3 hours", "dec": "-20 degrees"}  # fmt: skip
    image = {key: value for key, value in CONFIG["image"].items() if key != "pixel_scale"}
    variables = {"fexptime": 300.0}
    out = folder / "out"
    config = write_field(folder, image={**image, "wcs": wcs}, eval_variables=variables)
    render_config(config, out, quicklook=True)
    return out


def test_the_header(made):
    header, receipt = fits.getheader(made / "f1.fits"), json.loads((made / "f1.fits.receipt.json").read_text())
    assert header["CTYPE1"].startswith("RA---TAN")
    told = {"GAIN": 1.5, "RDNOISE": 3.0, "SKYLEVEL": 100.0, "ZEROPNT": 30.0, "EXPTIME": 300.0, "WAVELEN": 800.0}
    assert {word: header[word] for word in told} == told
    assert (header["SEED"], header["FILENUM"], header["MODEL"], header["WEIGHTS"]) == (5, 1, "sersic", "")
    assert header["CONFHASH"] == receipt["origin"]["config_sha256"]
    assert (header["SKYLOOM"], header["GALSIM"]) == (receipt["versions"]["skyloom"], receipt["versions"]["galsim"])
    assert fits.getheader(made / "f2.fits")["CONFHASH"] != header["CONFHASH"]


def test_a_plain_configuration_gets_a_header_too_and_its_own_words_win(tmp_path):
    output = {"file_name": "a.fits", "provenance": {"gain": 9.0, "telescope": "T"}}
    render_config(write_field(tmp_path, **PLAIN, output=output), tmp_path / "out")
    header = fits.getheader(tmp_path / "out" / "a.fits")
    assert (header["GAIN"], header["TELESCOP"], header["RDNOISE"], header["SEED"]) == (9.0, "T", 3.0, 5)
    assert "MODEL" not in header
    assert sorted(p.name for p in (tmp_path / "out").glob("*galaxies*")) == []


def test_receipts_hold_every_file(made):
    receipt = json.loads((made / "f0.fits.receipt.json").read_text())
    assert sorted(receipt["files"]) == ["f0.fits", "f0.galaxies.fits", "f0.galaxies.parquet", "f0.png", "w0.fits"]
    for name, entry in receipt["files"].items():
        content = (made / name).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
        assert entry.get("pixels_sha256") == pixel_sha256(made / name)
    assert (receipt["galaxies"], receipt["origin"]["seed"]) == (5, 5)
    assert receipt["seconds"] > 0


def test_the_hash_of_pixels_is_of_pixels(tmp_path):
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    path = tmp_path / "a.fits"
    found = []
    changed = np.where(image == 7, np.float32(7.000001), image)
    for data, word in ((image, 1), (image, 2), (changed, 1), (image.reshape(4, 3), 1), (image.astype(np.float64), 1)):
        fits.PrimaryHDU(data, fits.Header({"WORD": word})).writeto(path, overwrite=True)
        found.append(pixel_sha256(path))
    assert found[0] == found[1]
    assert len(set(found)) == 4
    (tmp_path / "b.txt").write_text("no image")
    assert pixel_sha256(tmp_path / "b.txt") is None


def test_the_truth_has_what_was_asked_for_and_what_was_drawn(made):
    parquet = pytest.importorskip("pyarrow.parquet")
    seeds = set()
    for number in range(FILES):
        table = Table(fits.getdata(made / f"f{number}.galaxies.fits"))  # Table.read would mask NaN
        same = parquet.read_table(made / f"f{number}.galaxies.parquet").to_pydict()
        assert table.colnames == list(same)
        for name in table.colnames:
            np.testing.assert_array_equal(table[name].tolist(), same[name])
        np.testing.assert_array_equal(table["galaxy_id"], 5 * number + np.arange(1, 6))
        np.testing.assert_array_equal(table["obj_num"], 5 * number + np.arange(5))
        assert ((table["requested_mag"] > 20) & (table["requested_mag"] < 24)).all()
        np.testing.assert_allclose(table["flux"], 10 ** (0.4 * (30 - table["requested_mag"])), rtol=1e-12)
        np.testing.assert_allclose(table["requested_half_light_radius"], 0.3)
        assert np.isnan(table["requested_redshift"]).all()
        assert set(table["drawn_from"]) == {"learned"} or set(table["drawn_from"]) == {"parametric"}
        assert set(table["out_of_range"]) == {"clip"}
        np.testing.assert_allclose(table["ra"], 45, atol=0.01)
        np.testing.assert_allclose(table["dec"], -20, atol=0.01)
        seeds |= set(table["latent_seed"])
    assert seeds == {fits.getheader(made / "f0.fits")["GALSEED"]}


def test_the_truth_names_the_galaxy_of_a_list_that_was_drawn(tmp_path):
    learned = {key: value for key, value in CONFIG["gal"].items() if key != "galaxy_id"}
    items = [{**learned, "galaxy_id": 100}, {"type": "Gaussian", "sigma": 0.2, "flux": 10}, {**learned, "galaxy_id": 7}]
    gal = {"type": "List", "items": items, "index": {"type": "Sequence", "first": 0, "last": 2, "repeat": 1}}
    render_config(write_field(tmp_path, gal=gal, output={"file_name": "a.fits"}), tmp_path / "out")
    table = Table.read(tmp_path / "out" / "a.galaxies.fits")
    assert list(zip(table["obj_num"], table["galaxy_id"], strict=True)) == [(0, 100), (2, 7), (3, 100)]


def test_clipped_galaxies_say_what_was_asked_for(tmp_path):
    from skyloom import load_model

    low, _ = load_model("cosmos").spec.ranges["half_light_radius"]
    learned = {"model": "cosmos", "out_of_range": "clip", "zero_point": 30.0, "wavelength": 800.0}
    gal = {**CONFIG["gal"], "half_light_radius": 0.9 * low, "redshift": 0.7}
    image = {**CONFIG["image"], "nobjects": 2}
    path = write_field(tmp_path, gal=gal, image=image, input={"learned_galaxies": learned}, output={"nfiles": 1})
    files = render_config(path, tmp_path / "out")
    assert files.written, files.failed
    table = Table.read(tmp_path / "out" / "field.galaxies.fits")
    assert set(table["drawn_from"]) == {"clipped"}
    np.testing.assert_allclose(table["requested_half_light_radius"], 0.9 * low)
    np.testing.assert_allclose(table["half_light_radius"], 0.9 * low)  # only the learned part is another's
    np.testing.assert_allclose(table["requested_redshift"], 0.7)
    assert len(table["weights"][0]) == 64


@pytest.mark.parametrize("nproc", [1, 2])
def test_the_truth_of_galaxies_drawn_together(tmp_path, made, nproc, caplog):
    learned = {**CONFIG["image"], "type": "LearnedScattered", "batch_size": 2, "nobjects": 7}
    plain = {**CONFIG["image"], "nobjects": 7}
    tables = []
    for name, image in (("together", learned), ("apart", plain)):
        path = write_field(tmp_path / name, image=image, output={"nfiles": 1})
        files = render_config(path, tmp_path / name / "out", nproc=nproc, logger=logging.getLogger("galsim"))
        assert files.written, files.failed
        tables.append(Table.read(tmp_path / name / "out" / "field.galaxies.fits"))
    assert "one by one" not in caplog.text
    assert len(tables[0]) == 7
    for column in tables[0].colnames:
        np.testing.assert_array_equal(tables[0][column], tables[1][column])


@pytest.mark.parametrize("kind", ["Scattered", "LearnedScattered"])
def test_seeds_beyond_64_bits_are_text_in_the_truth(tmp_path, kind):
    learned = {**CONFIG["input"]["learned_galaxies"], "seed": 2**100 + 1}
    image = {**CONFIG["image"], "type": kind}
    path = write_field(tmp_path, input={"learned_galaxies": learned}, image=image, output={"file_name": "a.fits"})
    files = render_config(path, tmp_path / "out")
    assert files.written, files.failed
    table = Table(fits.getdata(tmp_path / "out" / "a.galaxies.fits"))
    assert list(table["latent_seed"]) == [str(2**100 + 1)] * 5
    parquet = pytest.importorskip("pyarrow.parquet")
    same = parquet.read_table(tmp_path / "out" / "a.galaxies.parquet").to_pydict()
    assert same["latent_seed"] == list(table["latent_seed"])


@pytest.mark.parametrize("kind", ["Scattered", "LearnedScattered"])
def test_the_truth_has_the_policy_of_each_galaxys_own_section(tmp_path, kind):
    learned = CONFIG["input"]["learned_galaxies"]
    sections = [{**learned, "out_of_range": "clip"}, {**learned, "out_of_range": "parametric"}]
    gal = {**CONFIG["gal"], "num": "$obj_num % 2"}
    image = {**CONFIG["image"], "type": kind}
    path = write_field(
        tmp_path, input={"learned_galaxies": sections}, gal=gal, image=image, output={"file_name": "a.fits"}
    )
    files = render_config(path, tmp_path / "out")
    assert files.written, files.failed
    table = Table(fits.getdata(tmp_path / "out" / "a.galaxies.fits"))
    assert list(table["out_of_range"]) == ["parametric" if number % 2 else "clip" for number in table["obj_num"]]


def test_the_summary(made):
    summary = json.loads((made / "render_summary.json").read_text())
    assert (summary["files"], len(summary["made"]), summary["galaxies"]) == (FILES, FILES, 5 * FILES)
    assert not summary["interrupted"]
    assert summary["galaxies_per_second"] == pytest.approx(5 * FILES / summary["seconds"], rel=0.01)


def test_the_quick_look(made, tmp_path):
    picture = imread(made / "f0.png")
    assert picture.shape[:2] == (64, 64)
    image = fits.getdata(made / "f0.fits")
    row, column = np.unravel_index(image.argmax(), image.shape)
    assert picture[63 - row, column, 0] > 0.9  # the top of the picture is the last row
    big = {**CONFIG["image"], "size": 2100, "nobjects": 1}
    path = write_field(tmp_path, **PLAIN, image=big, output={"nfiles": 1})
    render_config(path, tmp_path / "out", quicklook=True)
    assert imread(tmp_path / "out" / "field.png").shape[:2] == (700, 700)


@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 6)),
              elements=st.floats(-1e30, 1e30) | st.just(np.nan) | st.just(np.inf)))  # fmt: skip
@settings(max_examples=60)
def test_the_stretch_takes_any_numbers(image):
    out = stretch(image)
    assert out.shape == image.shape
    assert ((out >= 0) & (out <= 1)).all()


# --- progress


def _task(number):
    return Task(f"f{number}.fits", 0, number, number, 10 * number, 10, Origin("", "", 1))


def test_lines_say_rate_and_time_left(monkeypatch):
    clock = iter([0.0, 2.0, 4.0, 4.0])
    monkeypatch.setattr("skyloom.render.progress.time.monotonic", lambda: next(clock))
    stream = io.StringIO()
    with reporter_for(stream) as reporter:
        assert isinstance(reporter, LineReporter)
        reporter.start([_task(0), _task(1), _task(2)], 4)
        reporter.done(Outcome("f0.fits", True, galaxies=8, seconds=1.5))
        reporter.done(Outcome("f1.fits", reason="no luck"))
        reporter.done(Outcome("f2.fits"))
    assert stream.getvalue().splitlines() == [
        "skyloom: 4 files stand already; 3 files to make, 30 galaxies at most",
        "skyloom: f0.fits: 8 galaxies, 1.5 s (1 of 3 files; 4 galaxies/s; about 4 s left)",
        "skyloom: f1.fits: failed: no luck (2 of 3 files; 2 galaxies/s; about 2 s left)",
        "skyloom: f2.fits: skipped (3 of 3 files; 2 galaxies/s)",
    ]


def test_a_terminal_gets_a_bar():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    with reporter_for(stream) as reporter:
        assert isinstance(reporter, BarReporter)
        reporter.start([_task(0), _task(1)], 0)
        reporter.done(Outcome("f0.fits", True, galaxies=8, seconds=1.5))
        reporter.done(Outcome("f1.fits", reason="no [bold]luck"))
    assert "f1.fits: failed: no [bold]luck" in stream.getvalue()
    assert "2 of 2 files" in stream.getvalue()
    with reporter_for(stream, quiet=True) as reporter:
        assert isinstance(reporter, QuietReporter)


JSON = st.recursive(
    st.integers() | st.text(max_size=5) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, JSON)
@settings(max_examples=60)
def test_differences_are_said_exactly_when_there_are_some(old, new):
    assert bool(list(differences(old, new))) == (old != new)
    assert not list(differences(old, json.loads(json.dumps(old))))
