"""``skyloom validate`` from the command line: what it takes, what it leaves, how it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest
from astropy.table import Table

from skyloom.cli.main import run
from skyloom.cutouts.hdf5 import write_cutouts
from skyloom.errors import BadInputError
from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.reference import COLUMNS, list_references, load_reference, reference_row
from skyloom.validate.sample import name_of

pytest.importorskip("jinja2")
pytest.importorskip("statmorph")


@pytest.fixture(scope="module")
def galaxies():
    return synthetic_cutouts(20, seed=6, stamp_size=48)


@pytest.fixture(scope="module")
def real(galaxies, tmp_path_factory):
    path = tmp_path_factory.mktemp("cutouts") / "real.h5"
    # two that cannot be judged: a file may hold them, for all their numbers are finite
    bad = [
        replace(galaxies[0], galaxy_id=100, zero_point=0.0),
        replace(galaxies[1], galaxy_id=101, mask=np.zeros((48, 48), bool)),
    ]
    write_cutouts(path, [*galaxies[:9], *bad])
    return path


@pytest.fixture(scope="module")
def mock(galaxies, tmp_path_factory):
    path = tmp_path_factory.mktemp("cutouts") / "mock.h5"
    write_cutouts(path, galaxies[9:18])
    return path


@pytest.fixture(scope="module")
def done(real, mock, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    arguments = ["--real", str(real), "--mock", str(mock), "-o", str(out), "--require", "wasserstein_gini<50"]
    return run(["validate", *arguments]), out


def test_a_mock_is_judged_and_the_report_left(done):
    status, out = done
    assert status == 0
    numbers = json.loads((out / "validation.json").read_text())
    assert list(numbers["samples"]) == ["real", "mock", "Sersic"]
    assert numbers["samples"]["real"]["judged"] == 9
    assert numbers["samples"]["real"]["set_aside"] == {"wrong zero point": 1, "all pixels masked": 1}
    page = (out / "report.html").read_text()
    assert "Wrong zero point" in page
    assert "0 makes it magnitude" in page
    assert numbers["requirements"][0]["holds"] is True
    assert str(out) not in page


def test_a_requirement_that_does_not_hold_ends_with_one(done, real, mock, capsys):
    _, out = done
    arguments = ["--real", str(real), "--mock", str(mock), "-o", str(out)]
    assert run(["validate", *arguments, "--require", "wasserstein_gini<0", "--require", "wasserstein_m20>=0"]) == 1
    said = capsys.readouterr()
    assert "does not hold: wasserstein_gini<0 by mock: " in said.out
    assert "holds: wasserstein_m20>=0 by mock: " in said.out
    assert "1 of 2 requirements do not hold" in said.err
    assert (out / "report.html").exists()


def fails(arguments, capsys, *words):
    assert run(["validate", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    for word in words:
        assert word in said.err


def test_input_that_is_missing_is_named(real, tmp_path, capsys):
    out = ["-o", tmp_path / "out"]
    fails([*out, "--mock", real], capsys, "either --real", "or --reference")
    fails([*out, "--mock", real, "--real", real, "--reference", "cosmos-hst"], capsys, "either --real")
    fails([*out, "--mock", real, "--real", tmp_path / "none.h5"], capsys, "none.h5", "no such file")
    fails([*out, "--mock", real, "--reference", "nowhere"], capsys, "no reference 'nowhere'", *list_references())
    fails([*out, "--real", real, "--model", "nobody"], capsys, "nobody")
    fails([*out, "--real", real, "--model", "sersic", "--model", "sersic"], capsys, "there already")


def test_requirements_are_checked_before_the_work(real, mock, tmp_path, capsys):
    arguments = ["--real", real, "--mock", mock, "-o", tmp_path / "out"]
    fails([*arguments, "--require", "gini"], capsys, "METRIC<VALUE")
    fails([*arguments, "--require", "wasserstein_ginny<1"], capsys, "wasserstein_ginny", "wasserstein_gini")
    assert not (tmp_path / "out" / "work").exists()


def test_files_that_cannot_be_used_are_named(real, mock, tmp_path, capsys):
    out = ["-o", tmp_path / "out", "--mock", mock, "--real"]
    empty = tmp_path / "empty.h5"
    empty.touch()
    fails([*out, empty], capsys, "empty.h5", "empty")
    text = tmp_path / "notes.txt"
    text.write_text("no galaxies")
    fails([*out, text], capsys, "notes.txt", "no reader knows")
    torn = tmp_path / "torn.h5"
    torn.write_bytes(real.read_bytes()[:-2000])
    fails([*out, torn], capsys, "torn.h5", "damaged or cut off")
    without = tmp_path / "without.h5"
    without.write_bytes(real.read_bytes())
    with h5py.File(without, "r+") as file:
        del file["psf"]
    fails([*out, without], capsys, "without.h5", "psf")


def test_several_files_are_judged_as_one(real, mock):
    from skyloom.validate.run_inputs import open_all

    both, dropped = open_all([real, mock], real.parent)
    assert (len(both), dropped) == (20, [])
    assert [both[i].galaxy_id for i in (0, 8, 10, 11, 19, -1)] == [0, 8, 101, 9, 17, 17]
    assert [c.galaxy_id for c in both[10:13]] == [101, 9, 10]
    with pytest.raises(IndexError):
        both[20]


def test_files_of_different_stamps_are_refused(real, mock, tmp_path, capsys):
    other = tmp_path / "large.h5"
    write_cutouts(other, synthetic_cutouts(3, seed=1, stamp_size=64))
    arguments = ["--real", real, "--real", other, "--mock", mock, "-o", tmp_path / "out"]
    fails(arguments, capsys, "stamps of different sizes", "(48, 48)", "(64, 64)")


def test_too_few_galaxies_say_why(galaxies, mock, tmp_path, capsys):
    few = tmp_path / "few.h5"
    write_cutouts(few, [replace(c, zero_point=0.0) for c in galaxies[:9]])
    fails(["--real", few, "--mock", mock, "-o", tmp_path / "out"], capsys, "0 of 9", "wrong zero point: 9")


def test_references_hold_numbers_and_say_where_from():
    assert "cosmos-hst" in list_references()
    for name in list_references():
        reference = load_reference(name)
        assert len(reference.table) == len(reference.blanks) >= 20
        assert len(reference.table.meta["provenance"]) > 40
        for column in reference.table.colnames:
            assert reference.table[column].ndim == 1
        rows, screening = reference.select(lambda _: None, None)
        assert len(rows) == screening.kept == screening.read - len(screening.set_aside)


def test_a_reference_gives_back_the_conditions_it_was_made_from(galaxies, tmp_path):
    from skyloom.validate.measure import measure_cutouts

    chosen = [replace(c, redshift=float("nan")) for c in galaxies[:2]]
    table = measure_cutouts(chosen)
    for name in COLUMNS:
        table[name] = [reference_row(c)[name] for c in chosen]
    table.write(tmp_path / "own.ecsv", format="ascii.ecsv")
    reference = load_reference(str(tmp_path / "own.ecsv"))
    for blank, cutout in zip(reference.blanks, chosen, strict=True):
        assert name_of(blank) == name_of(cutout)
        for name in ("dx", "dy", "half_light_radius", "sersic_n", "q", "beta", "flux", "sky", "flag"):
            assert getattr(blank.fit, name) == pytest.approx(getattr(cutout.fit, name), rel=1e-6)
        np.testing.assert_allclose(blank.variance, cutout.variance, rtol=1e-5)
        assert np.isnan(blank.redshift)
        assert blank.mask.all()
        assert not blank.image.any()
        assert blank.noise_correlation == cutout.noise_correlation
        middle = blank.psf[10:51, 10:51]
        assert np.abs(middle - cutout.psf).max() < 0.03 * cutout.psf.max()


@pytest.mark.parametrize("fault", ["missing column", "no rows", "not a table"])
def test_a_damaged_reference_is_refused(fault, tmp_path):
    path = tmp_path / "bad.ecsv"
    if fault == "not a table":
        path.write_text("%ECSV 1.0\nnonsense: [\n")
    else:
        table = Table({"galaxy_id": [1]}) if fault == "missing column" else load_reference("cosmos-hst").table[:0]
        table.write(path, format="ascii.ecsv")
    with pytest.raises(BadInputError, match="bad.ecsv"):
        load_reference(str(path))


def test_a_reference_validates_a_model_on_a_fresh_machine(tmp_path):
    out = tmp_path / "out"
    arguments = ["--reference", "cosmos-hst", "--model", "sersic", "--limit", "8", "-o", str(out)]
    try:
        import skyloom_sersic  # noqa: F401
    except ImportError:
        pytest.skip("the plugin skyloom-sersic is not installed")
    assert run(["validate", *arguments]) == 0
    numbers = json.loads((out / "validation.json").read_text())
    assert numbers["samples"]["sersic"]["judged"] == 8
    assert any("table of numbers" in text for text in numbers["cautions"])
