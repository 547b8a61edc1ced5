"""Which files and weights a receipt holds: those of its own file, wherever the configuration names them."""

from __future__ import annotations

import hashlib
import json

import galsim
import pytest

from skyloom.errors import ConfigError
from skyloom.render import named_files, render_config
from skyloom.render.build import prepared
from skyloom.render.documents import read_documents
from skyloom.render.tasks import plan_tasks

from .render_fields import CONFIG, PLAIN, write_field

OUTPUT = {"nfiles": 2, "file_name": "$'f%d.fits' % file_num"}
LEARNED = {"model": "sersic", "zero_point": 30.0, "wavelength": 800.0}


def _origin(out, number):
    return json.loads((out / f"f{number}.fits.receipt.json").read_text())["origin"]


def test_a_catalogue_of_each_file_is_watched(tmp_path):
    name = {"type": "FormattedStr", "format": "c%d.txt", "items": ["$file_num"]}
    for number in range(2):
        (tmp_path / f"c{number}.txt").write_text(f"{100 + number}\n" * 5)
    gal = {**PLAIN["gal"], "flux": {"type": "Catalog", "col": 0}}
    sections = {**PLAIN, "input": {"catalog": {"file_name": name, "dir": str(tmp_path)}}, "gal": gal, "output": OUTPUT}
    config = write_field(tmp_path, **sections)
    render_config(config, tmp_path / "out")
    for number in range(2):
        path = tmp_path / f"c{number}.txt"
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        assert _origin(tmp_path / "out", number)["inputs"] == {str(path): sha}
    assert len(render_config(config, tmp_path / "out", resume=True).kept) == 2
    (tmp_path / "c1.txt").write_text("90000\n" * 5)
    with pytest.raises(ConfigError, match="'f1.fits' was made otherwise: input file '.*c1.txt'"):
        render_config(config, tmp_path / "out", resume=True)


def test_catalogues_of_one_name_in_two_folders_are_two(tmp_path):
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "c.txt").write_text("100\n" * 5)
    catalogues = [{"file_name": "c.txt", "dir": str(tmp_path / folder)} for folder in "ab"]
    config = write_field(tmp_path, **{**PLAIN, "input": {"catalog": catalogues}, "output": OUTPUT})
    render_config(config, tmp_path / "out")
    (tmp_path / "a" / "c.txt").write_text("101\n" * 5)
    with pytest.raises(ConfigError, match="input file '.*a/c.txt'"):
        render_config(config, tmp_path / "out", resume=True)


@pytest.mark.parametrize("written", [True, False])
def test_files_named_outside_input_are_watched(tmp_path, written):
    for number in range(2):
        galsim.Gaussian(fwhm=0.5 + number).drawImage(nx=16, ny=16, scale=0.2).write(str(tmp_path / f"p{number}.fits"))
    image = str(tmp_path / "p0.fits") if written else f"$'{tmp_path}/p%d.fits' % file_num"
    config = write_field(tmp_path, **{**PLAIN, "psf": {"type": "InterpolatedImage", "image": image}, "output": OUTPUT})
    files = render_config(config, tmp_path / "out")
    assert not files.failed
    expected = str(tmp_path / ("p0.fits" if written else "p1.fits"))
    assert list(_origin(tmp_path / "out", 1)["inputs"]) == [expected]
    galsim.Gaussian(fwhm=0.9).drawImage(nx=16, ny=16, scale=0.2).write(expected)
    with pytest.raises(ConfigError, match="input file"):
        render_config(config, tmp_path / "out", resume=True)


def test_weights_of_each_files_own_section_are_kept(tmp_path):
    changing = {
        "sersic": {**LEARNED, "zero_point": "$30.0 + file_num"},
        "cosmos": {**LEARNED, "model": {"type": "List", "items": ["sersic", "cosmos"], "index": "$file_num"}},
    }
    gal = {key: value for key, value in CONFIG["gal"].items() if key != "mag"} | {"flux": 100.0}
    for second, learned in changing.items():
        out = tmp_path / second
        render_config(write_field(out, input={"learned_galaxies": learned}, gal=gal, output=OUTPUT), out)
        assert list(_origin(out, 0)["models"]) == ["sersic"]
        assert list(_origin(out, 1)["models"]) == [second]


def test_weights_of_a_section_that_no_file_can_evaluate_are_those_of_its_model(tmp_path):
    learned = {**LEARNED, "zero_point": "$no_such_variable"}
    (document,) = read_documents(write_field(tmp_path, input={"learned_galaxies": learned}, output=OUTPUT), {})
    assert [task.origin.models for task in plan_tasks(document, prepared(document))] == [{"sersic": ""}] * 2


def test_a_file_is_read_once_for_all_that_name_it(tmp_path, monkeypatch):
    (tmp_path / "c.txt").write_text("100\n" * 5)
    read = []
    monkeypatch.setattr(named_files, "file_sha256", lambda path: read.append(path) or "0" * 64)
    section = {"file_name": str(tmp_path / "c.txt")}
    config = write_field(tmp_path, **{**PLAIN, "input": {"catalog": [section, section]}, "output": OUTPUT})
    render_config(config, tmp_path / "out")
    assert read == [tmp_path / "c.txt"]


def test_a_receipt_of_another_version_is_no_proof(tmp_path):
    config = write_field(tmp_path, **PLAIN, output={"file_name": "f0.fits"})
    render_config(config, tmp_path / "out")
    receipt = tmp_path / "out" / "f0.fits.receipt.json"
    receipt.write_text(json.dumps({**json.loads(receipt.read_text()), "format": 1}))
    files = render_config(config, tmp_path / "out", resume=True)
    assert list(files.repaired.values()) == ["f0.fits.receipt.json is a receipt of another version of Skyloom"]
