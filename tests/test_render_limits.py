"""Pixels too small and images too large to be meant are refused before anything is allocated."""

from __future__ import annotations

import galsim
import pytest

from skyloom.cli.main import run

from .render_fields import CONFIG, PLAIN, write_field

REFUSED = {
    "image.pixel_scale": ({"pixel_scale": 1e-5}, {}, "image.pixel_scale is 1e-05 arcsec; at least 0.0001"),
    "by way of others": ({"pixel_scale": "$1e-6 * 10"}, {}, "image.pixel_scale is 1e-05 arcsec"),
    "negative": ({"pixel_scale": -0.2}, {}, "image.pixel_scale is -0.2 arcsec"),
    "image.stamp_size": ({"stamp_size": 1_000_000}, {}, "image.stamp_size is 1e[+]06; an image or stamp has at most"),
    "image.size": ({"size": 1_000_000}, {}, "image.size is 1e[+]06"),
    "image.xsize": ({"xsize": 1_000_000, "ysize": 10}, {}, "image.xsize is 1e[+]06"),
    "stamp.size": ({}, {"stamp": {"size": 1_000_000}}, "stamp.size is 1e[+]06"),
    "an item of a list": (
        {"stamp_size": {"type": "List", "items": [2_000_000], "index": 0}}, {}, "image.stamp_size is 2e[+]06",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["Scattered", "LearnedScattered"])
@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line_and_nothing_is_made(tmp_path, capsys, monkeypatch, case, kind):
    image, sections, message = REFUSED[case]
    plain = {key: value for key, value in CONFIG["image"].items() if "size" not in image or key != "size"}
    config = write_field(tmp_path, image={**plain, "type": kind, **image}, **sections)

    def image_of(*args, **more):
        raise AssertionError("an image was allocated")

    monkeypatch.setattr(galsim.Image, "__init__", image_of)
    assert run(["render", str(config), "-o", str(tmp_path / "out"), "-v", "0"]) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error)
    assert not list(tmp_path.glob("out/**/*.fits"))


@pytest.mark.parametrize("image", [{"pixel_scale": 2e-4}, {"stamp_size": {"type": "Random", "min": 8, "max": 9}}])
def test_what_may_be_meant_is_left_to_galsim(tmp_path, image):
    config = write_field(
        tmp_path, **{**PLAIN, "image": {**CONFIG["image"], **image}, "output": {"file_name": "a.fits"}}
    )
    assert run(["render", str(config), "-o", str(tmp_path / "out"), "-v", "0"]) in (0, 1)
