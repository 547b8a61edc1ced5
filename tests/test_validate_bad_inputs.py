"""Bad cutouts among good ones, from the command line: each is named with its reason, the rest goes on."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from skyloom.cli.main import run
from skyloom.cutouts.hdf5 import write_cutouts
from skyloom.testing.cutouts import synthetic_cutouts

pytest.importorskip("jinja2")
pytest.importorskip("statmorph")

GOOD = 9


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad")
    made = synthetic_cutouts(2 * GOOD + 7, seed=6, stamp_size=48)
    bad = [replace(c, galaxy_id=100 + i) for i, c in enumerate(made[GOOD : GOOD + 7])]
    bad[4] = replace(bad[4], zero_point=0.0)
    bad[5] = replace(bad[5], zero_point=bad[5].zero_point + 6)
    bad[6] = replace(bad[6], pixel_scale=0.03)
    real, mock = folder / "real.h5", folder / "mock.h5"
    write_cutouts(real, [*made[:GOOD], *bad])
    write_cutouts(mock, [replace(c, zero_point=c.zero_point + 8) for c in made[GOOD + 7 :]])
    with h5py.File(real, "r+") as file:  # what our own writer would refuse
        file["psf"][GOOD] = 0
        image = file["image"][GOOD + 1]
        image[20:24, 20:24] = np.nan
        file["image"][GOOD + 1] = image
        file["mask"][GOOD + 2] = 0
        file["variance"][GOOD + 3] = 0
    status = run(["validate", "--real", str(real), "--mock", str(mock), "-o", str(folder / "out")])
    return status, json.loads((folder / "out" / "validation.json").read_text())


def test_the_rest_goes_on_and_the_report_counts(report):
    status, numbers = report
    assert status == 0
    real = numbers["samples"]["real"]
    assert (real["judged"], real["read"]) == (GOOD + 1, GOOD + 7)  # one of another pixel scale is no fault
    assert real["set_aside"] == {
        "no PSF": 1,
        "NaN or infinite pixels that the mask calls usable": 1,
        "all pixels masked": 1,
        "no noise variance": 1,
        "wrong zero point": 2,
    }


def test_each_is_named_with_the_values_at_fault(report):
    told = {name: f"{reason}: {detail}" for name, reason, detail in report[1]["samples"]["real"]["set_aside_galaxies"]}
    words = {100: "sum 0", 101: "16 of 2304", 102: "masked", 103: "2304 usable", 104: "magnitude", 105: "others of"}
    for galaxy, word in words.items():
        assert any(f" {galaxy} " in name and word in text for name, text in told.items())


def test_a_file_of_wrong_zero_points_is_noticed(report):
    assert any("galaxies of mock" in text and "zero point" in text for text in report[1]["cautions"])
