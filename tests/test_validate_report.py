"""A validation from cutouts to the page: scores, verdicts, requirements, files."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from skyloom.cutouts.hdf5 import write_cutouts
from skyloom.descriptors import Metric
from skyloom.errors import BadInputError, ConfigError, CutoutError
from skyloom.profiles import GeneratorSpec, ProfileBatch
from skyloom.testing.cutouts import synthetic_cutouts
from skyloom.validate.drawing import psf_fwhm
from skyloom.validate.plots_charts import corner, curves, distribution, plane
from skyloom.validate.plots_montage import choose_rows
from skyloom.validate.report import render_page, write_report
from skyloom.validate.report_data import Line, Sample, Validation, to_json
from skyloom.validate.report_format import real_text
from skyloom.validate.report_require import check_requirements, parse_requirement
from skyloom.validate.report_verdict import headline, judge, verdict
from skyloom.validate.run import Plan, collect_metrics, validate
from skyloom.validate.run_choose import real_sample
from skyloom.validate.run_scores import run_metrics
from skyloom.validate.sample import SetAside

pytest.importorskip("jinja2")
pytest.importorskip("statmorph")


class Rounder:
    """A broken model: the galaxies asked for, all of them round."""

    spec = GeneratorSpec(name="rounder", ranges={"half_light_radius": (0.1, 0.45)})

    def sample(self, conditions, *, seed, out_of_range="error"):
        from skyloom.frames import profile_jacobian

        ones, zeros = np.ones(len(conditions)), np.zeros(len(conditions))
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id,
            sersic_n=conditions.sersic_n,
            flux=conditions.flux,
            half_light_radius=conditions.half_light_radius,
            q=ones,
            beta=zeros,
            jacobian=profile_jacobian(conditions.half_light_radius, ones, zeros),
            generator="rounder",
            seed=seed,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("validation")


@pytest.fixture(scope="module")
def cutouts():
    """Thirteen that can be judged unless they are large, and one that cannot."""
    good = synthetic_cutouts(13, seed=4, stamp_size=48)
    return [*good, replace(good[0], galaxy_id=99, mask=np.zeros((48, 48), bool))]


@pytest.fixture(scope="module")
def found(cutouts, folder):
    plan = Plan(
        real=cutouts,
        generators={"rounder": Rounder()},
        requirements=[parse_requirement("wasserstein_gini<100"), parse_requirement("calibration_q<1e-9")],
        pictures=4,
    )
    return validate(plan, folder)


def test_every_sample_is_of_the_same_galaxies(found, cutouts):
    validation, _ = found
    assert list(validation.samples) == ["real", "rounder", "Sersic"]
    ids = [list(s.table["galaxy_id"]) for s in validation.samples.values()]
    assert ids[0] == ids[1] == ids[2]
    inside = [c.galaxy_id for c in cutouts[:13] if 0.1 <= c.fit.half_light_radius <= 0.45]
    assert ids[0] == inside
    assert validation.samples["real"].read == 14
    reasons = {s.reason for s in validation.samples["real"].set_aside}
    assert reasons == {"all pixels masked", "outside the ranges of model 'rounder'"}


def test_the_broken_model_is_caught_by_the_metric_meant_for_it(found):
    lines = {line.metric: line for line in found[0].lines}
    assert lines["calibration_q"].scores["rounder"].outcome == "falls short"
    assert lines["calibration_q"].scores["Sersic"].outcome == "pass"
    assert "asked and recovered" in found[0].verdicts["rounder"]


def test_requirements_are_reported(found):
    (first, holds), (second, fails) = found[0].requirements
    assert (holds, fails) == (True, False)
    assert first.startswith("wasserstein_gini<100 by rounder: ")
    assert "1e-09" in second


def test_a_second_run_takes_what_the_first_has_made(found, cutouts, folder):
    before = {path: path.stat().st_mtime_ns for path in folder.glob("simulated-*.h5")}
    assert len(before) == 2
    again, _ = validate(Plan(real=cutouts, generators={"rounder": Rounder()}), folder, metrics=[])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    old = found[0].samples["rounder"].table
    np.testing.assert_array_equal(again.samples["rounder"].table["gini"], old["gini"])
    other = validate(Plan(real=cutouts, generators={"rounder": Rounder()}, seed=2), folder, metrics=[])[0]
    assert not np.array_equal(other.samples["rounder"].table["gini"], old["gini"])


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if "id" in dict(attrs):
            self.ids.append(dict(attrs)["id"])

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(found):
    text = render_page(*found)
    parsed = _Page()
    parsed.feed(text)
    return text, parsed


def test_the_page_asks_nothing_of_the_network(page):
    text, parsed = page
    assert len(text.encode()) < 10e6
    for tag, attrs in parsed.tags:
        assert tag not in ("script", "iframe", "object", "embed")
        for name in ("src", "href", "xlink:href"):
            value = attrs.get(name, "#")
            assert value.startswith(("#", "data:")), (tag, value[:80])
    assert "@import" not in text
    assert not re.search(r"url\((?!#|data:)", text)


def test_the_page_is_accessible(page):
    text, parsed = page
    assert parsed.tags[0] == ("html", {"lang": "en"})
    assert len(parsed.ids) == len(set(parsed.ids))
    for tag, attrs in parsed.tags:
        if tag == "img":
            assert len(attrs["alt"]) > 10
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or len(attrs.get("aria-label", "")) > 5
        if tag == "th":
            assert attrs.get("scope") in ("col", "row", "rowgroup")
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    # no colour of a figure is fixed: all follow the page's theme
    assert not re.search(r"#0[1-9ab]0[1-9ab]0[1-9ab]", text)


def test_the_page_opens_with_the_verdict(found, page):
    text, _ = page
    validation, _ = found
    order = [text.index(validation.headline, text.index("<h1>")), text.index("<table"), text.index("<figure>")]
    assert order == sorted(order)
    for line in validation.lines:
        if any(math.isfinite(s.value) for s in line.scores.values()):
            assert line.metric in text
    assert "All pixels masked" in text
    assert "✗ does not hold: calibration_q" in text


def test_names_cannot_inject_markup(found):
    validation, gallery = found
    evil = SetAside("<script>alert(1)</script>", "<b>reason</b>")
    samples = dict(validation.samples)
    samples["real"] = replace(samples["real"], set_aside=[evil])
    text = render_page(replace(validation, samples=samples, headline="<i>x</i>"), gallery)
    assert "<script" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;reason" in text


def test_files_hold_the_numbers_of_the_page(found, tmp_path):
    validation, gallery = found
    files = write_report(validation, gallery, tmp_path)
    numbers = json.loads(files.numbers.read_text())
    scores = Table.read(files.scores, format="ascii.ecsv")
    by_metric = {m["metric"]: m for m in numbers["metrics"]}
    for row in scores:
        value = by_metric[row["metric"]]["scores"][row["sample"]]["value"]
        assert (value is None and np.isnan(row["value"])) or value == pytest.approx(row["value"])
    assert numbers["headline"] == validation.headline
    assert numbers["samples"]["real"]["set_aside"]["all pixels masked"] == 1
    assert numbers["provenance"]["versions"]["galsim"]
    again = Table.read(files.measurements[0], format="ascii.ecsv")
    np.testing.assert_allclose(again["gini"], validation.samples["real"].table["gini"])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [p.name for p in (files.page, files.numbers, files.scores, *files.measurements)]
    )


@pytest.mark.slow
def test_real_against_real_passes_and_sersic_falls_short(tmp_path):
    galaxies = synthetic_cutouts(120, seed=8, stamp_size=48, strength=0.6)
    plan = Plan(real=galaxies[::2], generators={}, mock=[replace(c, fit=c.fit) for c in galaxies[1::2]])
    validation, _ = validate(plan, tmp_path)
    mock = {line.metric: line.scores["mock"].outcome for line in validation.lines}
    sersic = {line.metric: line.scores["Sersic"].outcome for line in validation.lines}
    short = [name for name, outcome in mock.items() if outcome == "falls short"]
    assert len(short) <= 1, short
    for name in ("wasserstein_residual_rms_smoothed", "wasserstein_residual_asymmetry", "auc_forest"):
        assert sersic[name] == "falls short"


def test_galaxies_small_against_their_psf_are_set_aside_when_asked(tmp_path):
    cutouts = synthetic_cutouts(20, seed=4, stamp_size=32)
    sizes = np.array([c.fit.half_light_radius / psf_fwhm(c) for c in cutouts])
    least = float(np.sort(sizes)[8:10].mean())
    chosen, sample = real_sample(Plan(real=cutouts, generators={}, least_size=least), tmp_path, None)
    assert [c.galaxy_id for c in chosen] == [cutouts[i].galaxy_id for i in np.flatnonzero(sizes > least)]
    assert len(sample.table) == 11
    assert {s.reason for s in sample.set_aside} == {"smaller against the PSF than asked for"}


def test_nothing_to_judge_is_refused(cutouts, tmp_path):
    with pytest.raises(BadInputError, match="nothing to judge"):
        validate(Plan(real=cutouts, generators={}), tmp_path)
    with pytest.raises(CutoutError, match="empty"):
        validate(Plan(real=[], generators={"rounder": Rounder()}), tmp_path)
    with pytest.raises(CutoutError, match="4 of 4 galaxies .* 8 are needed"):
        validate(Plan(real=synthetic_cutouts(4, 4), generators={"a": _anything()}), tmp_path)


def _anything():
    rounder = Rounder()
    rounder.spec = GeneratorSpec(name="a")
    return rounder


def test_a_mock_of_another_pixel_scale_is_set_aside(cutouts, tmp_path):
    mock = [*cutouts[:9], *(replace(c, pixel_scale=0.2, galaxy_id=c.galaxy_id + 50) for c in cutouts[9:13])]
    validation, _ = validate(Plan(real=cutouts, generators={}, mock=mock), tmp_path, metrics=[])
    assert len(validation.samples["mock"].table) == 9
    assert {s.reason for s in validation.samples["mock"].set_aside} == {"pixel scale that no real cutout has"}


def _tables(n=30):
    rng = np.random.default_rng(0)
    return {name: Table({"a": rng.normal(size=n), "b": rng.normal(size=n)}) for name in ("real", "x", "Sersic")}


def _sample(name, role="model", n=30):
    return Sample(name, role, Table({"a": np.zeros(n)}))


def test_a_metric_that_breaks_is_noted_and_the_others_go_on(caplog):
    def broken(real, model, **context):
        raise ZeroDivisionError("on purpose")

    def asked(real, model, **context):
        return {"value": len(real) - len(model), "error": 1.0, "floor": 0.5, "extra": context["seed"]}

    metrics = [Metric("broken", broken), Metric("fine", asked, better="zero", quantity="a")]
    samples = {"real": _sample("real", "real"), "x": _sample("x")}
    first, second = run_metrics(metrics, samples, {"x": {"seed": 3}})
    assert first.scores["x"].outcome == "not judged"
    assert "ZeroDivisionError: on purpose" in first.scores["x"].note
    assert "broken" in caplog.text
    assert second.scores["x"].outcome == "pass"
    assert second.real == 0.0


@given(
    value=st.floats(0, 100),
    floor=st.floats(1e-3, 10),
    error=st.floats(0, 5),
    ideal=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_judgement_depends_on_distances_alone(value, floor, error, ideal):
    above = judge(ideal + value, error, ideal + floor, ideal)
    below = judge(ideal - value, error, ideal + floor, ideal)
    if abs(value - 2 * floor) > 1e-9 and abs(value - 3 * error - floor) > 1e-9:
        assert above.outcome == below.outcome
        assert (above.outcome == "pass") == (value <= 2 * floor or value - 3 * error <= floor)
    assert above.multiple == pytest.approx(value / floor, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ("value", "error", "floor", "outcome"),
    [
        (math.nan, 0.1, 0.1, "not judged"),
        (0.1, math.nan, math.nan, "not judged"),
        (0.1, 0.1, math.nan, "pass"),
        (0.5, 0.1, math.nan, "falls short"),
        (0.0, 0.0, 0.0, "pass"),
        (0.1, 0.0, 0.0, "falls short"),
        (0.25, math.nan, 0.1, "falls short"),
    ],
)
def test_judgement_without_all_numbers(value, error, floor, outcome):
    assert judge(value, error, floor, 0.0).outcome == outcome


@pytest.mark.parametrize("text", ["auc", "auc<", "<1", "auc=1", "auc<1.2.3", "auc<nan", "a b<1"])
def test_a_requirement_of_another_form_is_refused(text):
    with pytest.raises(ConfigError, match="require"):
        parse_requirement(text)


@pytest.mark.parametrize(("sign", "holds"), [("<", [1, 0, 0]), ("<=", [1, 1, 0]), (">", [0, 0, 1]), (">=", [0, 1, 1])])
def test_signs_of_requirements(sign, holds):
    need = parse_requirement(f" auc {sign} 0.5")
    assert [need.holds(v) for v in (0.4, 0.5, 0.6)] == [bool(h) for h in holds]
    assert not need.holds(math.nan)


def _line(metric, **values):
    return Line(metric, metric, "g", "lower", 0.0, {k: judge(v, 0.01, 1.0, 0.0) for k, v in values.items()})


def test_requirements_on_what_was_not_measured_do_not_hold():
    lines = [_line("auc", x=math.nan)]
    assert check_requirements([parse_requirement("auc<1")], lines, ["x"]) == [("auc<1 by x: not measured", False)]
    with pytest.raises(ConfigError, match="no metric 'gini'; there are auc"):
        check_requirements([parse_requirement("gini<1")], lines, ["x"])


@pytest.mark.parametrize(("auc", "outcome"), [(0.3, "pass"), (0.5, "pass"), (0.55, "pass"), (0.7, "falls short")])
def test_a_classifier_worse_than_chance_is_not_held_against_a_sample(auc, outcome):
    metric = Metric("auc", lambda *_, **__: {"value": auc, "error": 0.01, "floor": 0.53}, better="half")
    table = Table({"a": [1.0]})
    line = run_metrics([metric], {"real": _sample("real", "real"), "x": replace(_sample("x"), table=table)}, {})[0]
    assert line.scores["x"].outcome == outcome


def test_verdict_names_what_falls_short_worst_first():
    lines = [_line("good", x=0.5, Sersic=3.0), _line("bad", x=2.5, Sersic=9.0), _line("worse", x=40.0, Sersic=1.0)]
    text = verdict("x", lines, _sample("x"), _sample("real", "real"))
    assert "passes 1 of 3 comparisons with 30 stamps of real galaxies" in text
    assert text.index("worse (40.0 × the floor)") < text.index("bad (2.5 × the floor)")
    assert "closer to the real galaxies than plain Sersic profiles in 2 of 3" in text
    assert "Plain Sersic profiles pass 1 of 3 and fall short in 2: bad (9.0 × the floor); good (3.0" in text
    same = "; plain Sersic profiles are judged the same."
    assert headline(["x"], lines) == f"x does not look like real galaxies{same}"
    assert headline(["x"], lines[:1]) == "x cannot be told from real galaxies by these measurements."


def test_ranges_are_shown_to_the_digits_they_have():
    line = replace(_line("m", x=1.0), real=0.061, real_spread=(5.7e-5, 0.13))
    assert "(0.00 to 0.13)" in real_text(line)
    assert "(−0.02 to 0.13)" in real_text(replace(line, real_spread=(-0.02, 0.13)))
    assert "(0.00 to 0.13)" in real_text(replace(line, real_spread=(-0.001, 0.13)))
    assert "(20 to 32)" in real_text(replace(line, real_spread=(20.1, 31.9)))
    assert "(1.2 to 1.2)" in real_text(replace(line, real_spread=(1.2, 1.2)))


def test_json_has_no_nan():
    sample = _sample("real", "real")
    validation = Validation({"real": sample, "x": _sample("x")}, [_line("m", x=math.nan)], "h", {}, {})
    text = json.dumps(to_json(validation), allow_nan=False)
    assert json.loads(text)["metrics"][0]["scores"]["x"]["value"] is None


def test_charts_do_without_numbers_that_are_missing():
    tables = _tables()
    tables["x"]["a"] = np.nan
    assert "var(--c-real)" in distribution(tables, "a", "A")
    assert distribution(tables, "missing", "M") is None
    assert [name for name, _ in plane(tables, "a", "b", ("A", "B"))] == ["real", "Sersic"]
    assert corner(tables, ["a", "missing"], ["A", "M"]) is None
    nothing = np.full(3, np.nan)
    assert curves({"real": (np.arange(3.0), nothing, None, None)}, "c", ("t", "x", "y")) is None


def test_charts_are_the_same_each_time():
    assert distribution(_tables(), "a", "A") == distribution(_tables(), "a", "A")


def test_pictures_are_the_brightest_and_a_spread():
    table = Table({"fit_snr": np.arange(100.0)[::-1]})
    assert choose_rows(table, 6) == [0, 1, 2, 3, 51, 99]
    assert choose_rows(table[:3], 6) == [0, 1, 2]


def test_there_are_metrics_of_every_kind():
    names = {metric.name for metric in collect_metrics()}
    assert {"auc_forest", "wasserstein_gini", "coverage", "calibration_mag"} <= names


def test_simulated_cutouts_can_be_written_and_judged_as_a_mock(found, tmp_path):
    _, gallery = found
    assert len(gallery) == 4
    assert write_cutouts(tmp_path / "a.h5", [g["Sersic"] for g in gallery]) == 4
