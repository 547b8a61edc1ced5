"""Structure through the encoder: spirals, rings, bars and mottle whose truth is known."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table, vstack
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from skyloom.generators.cvae import structure
from skyloom.generators.cvae.frame import nodes
from skyloom.validate.builtin import skyloom_metrics
from skyloom.validate.counterparts import Counterparts
from skyloom.validate.reencoded import Reencoder, encoder_among, judged_rows
from skyloom.validate.reencoded_colour import colour_figures, one_orientation, pair_table
from skyloom.validate.reencoded_compare import compare_numbers
from skyloom.validate.reencoded_maps import map_statistics
from skyloom.validate.reencoded_published import BAR_FRACTIONS, published_bar_fraction
from skyloom.validate.reencoded_run import reencoded_contexts
from skyloom.validate.report_verdict import judge

from .validate_samples import make_cutout, spiral

METRICS = {metric.name: metric for metric in skyloom_metrics()}
X, Y = np.moveaxis(nodes().double().numpy(), -1, 0)
R, PHI = np.hypot(X, Y), np.arctan2(Y, X)


def compute(name, **context):
    return METRICS[name].compute(None, None, seed=0, **context)


def passes(found):
    told = {name: found[name] for name in ("floor_error", "tolerance") if name in found}
    return judge(found["value"], found["error"], found["floor"], 0.0, **told).outcome == "pass"


# --- maps whose truth is known ---------------------------------------------------------------------------------


def arms(m=2, pitch=18.0, strength=0.4, phase=0.0):
    return strength * np.cos(m * PHI - m / np.tan(np.radians(pitch)) * np.log(R) + phase)


def bar(length=1.2, phase=0.0, strength=0.5):
    return strength * np.cos(2 * (PHI - phase)) * np.exp(-((R / length) ** 4))


def ring(strength=0.4):
    return strength * np.exp(-(((R - 1.5) / 0.25) ** 2))


def mottle(seed, strength=0.4):
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(R.shape), (1.5, 2.5), mode=("nearest", "wrap"))
    return strength * field / field.std()


def of(field):
    return {name: float(values[0]) for name, values in map_statistics(field[None]).items()}


@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 4), pitch=st.floats(14.0, 32.0), sense=st.sampled_from([-1, 1]), phase=st.floats(0, 6.28))
def test_a_logarithmic_spiral_is_one_mode_wound_one_way(m, pitch, sense, phase):
    if m / np.tan(np.radians(pitch)) / (2 * np.pi) * np.log(3.2 / 0.45) > 4:
        return  # more turns than the outer nodes resolve
    found = of(arms(m, sense * pitch, phase=phase))
    assert found[f"m{m}"] > 0.95
    assert found["strongest"] > 0.4
    if m / np.tan(np.radians(pitch)) > 4.5:  # more than a turn and a half: the taper leaves the sense alone
        assert found["abs_chirality"] > 0.8
        assert np.sign(found["chirality"]) == -sense


def test_a_bar_is_m2_without_a_sense_and_a_ring_is_no_arm():
    found = of(bar())
    assert found["m2"] > 0.99
    assert found["abs_chirality"] < 0.05
    assert of(ring())["ring"] > 0.99
    assert of(ring() + arms())["ring"] < 0.6


def test_mottle_is_many_modes():
    values = map_statistics(np.stack([mottle(seed) for seed in range(30)]))
    assert np.median(values["strongest"]) < 0.35
    assert np.median(values["abs_chirality"]) < 0.45
    assert of(arms())["strongest"] > np.percentile(values["strongest"], 84)


def test_amplitude_is_the_rms():
    assert of(arms(strength=0.4))["rms"] == pytest.approx(0.4 / np.sqrt(2), rel=0.1)
    assert of(arms(strength=0.2))["rms"] == pytest.approx(of(arms(strength=0.4))["rms"] / 2, rel=1e-6)


def test_a_map_of_nothing_has_no_statistics():
    assert np.isnan(of(0 * R)["strongest"])


# --- metrics on tables -----------------------------------------------------------------------------------------


def table(maps, **columns):
    n = len(maps)
    base = {
        "source": ["made up"] * n,
        "galaxy_id": np.arange(n),
        "band": ["F444W"] * n,
        "redshift": np.full(n, 1.2),
        "sersic_n": np.ones(n),
        "q": np.full(n, 0.8),
    }
    return Table({**base, **map_statistics(np.array(maps)), **columns})


def galaxies(seed, count=50, m=2, noise=0.3):
    """Arms of scattered pitch and strength in some mottle."""
    rng = np.random.default_rng(seed)
    pitches = rng.normal(18, 5, count).clip(9, 30) * rng.choice([-1, 1], count)
    phases = rng.uniform(0, 6.28, count)
    return [
        arms(m, p, phase=f) + mottle((seed, i), noise) for i, (p, f) in enumerate(zip(pitches, phases, strict=True))
    ]


REAL = table(galaxies(1))
NAMES = [name for name in METRICS if name.startswith("reencoded_")]


@pytest.mark.parametrize("name", NAMES)
def test_galaxies_of_one_kind_agree(name):
    found = compute(name, reencoded_real=REAL, reencoded_model=table(galaxies(2)))
    assert found["value"] < 2.5
    assert passes(found) or found["value"] < 2.5
    assert found["n_real"] == found["n_model"] == 50


def test_mottle_for_arms_falls_short():
    model = table([mottle((9, i), 0.4) for i in range(50)])
    for name in ("abs_chirality", "strongest", "m2", "coherence"):
        found = compute(f"reencoded_{name}", reencoded_real=REAL, reencoded_model=model)
        assert found["value"] > 4
        assert not passes(found)
    found = compute("reencoded_strongest", reencoded_real=REAL, reencoded_model=model)
    assert found["model_50"] < found["real_50"]
    assert found["sigma_50"] == pytest.approx((found["model_50"] - found["real_50"]) / found["error_50"])


def test_lopsided_galaxies_for_two_armed_ones_fall_short_in_m():
    found = {
        m: compute(f"reencoded_m{m}", reencoded_real=REAL, reencoded_model=table(galaxies(3, m=1))) for m in (1, 2, 3)
    }
    assert found[1]["sigma_50"] > 4
    assert found[2]["sigma_50"] < -4


def test_the_right_arms_too_faint_fall_short_in_amplitude_alone():
    model = table([0.3 * f for f in galaxies(2)])
    assert not passes(compute("reencoded_rms", reencoded_real=REAL, reencoded_model=model))
    assert passes(compute("reencoded_coherence", reencoded_real=REAL, reencoded_model=model))


@pytest.mark.parametrize("name", [*NAMES, "pitch_angle", "bar_fraction", "colour_structure", "bar_fraction_published"])
def test_nothing_to_judge_is_not_available(name):
    assert np.isnan(compute(name)["value"])
    assert np.isnan(compute(name, reencoded_real=REAL[:5], reencoded_model=REAL[:5])["value"])


def test_bands_of_a_galaxy_are_no_more_galaxies():
    once = compute("reencoded_m2", reencoded_real=REAL, reencoded_model=table(galaxies(2)))
    again = [table(galaxies(seed), band=[band] * 50) for seed, band in ((1, "a"), (1, "b"), (1, "c"))]
    twice = [table(galaxies(seed), band=[band] * 50) for seed, band in ((2, "a"), (2, "b"), (2, "c"))]

    many = compute("reencoded_m2", reencoded_real=vstack(again), reencoded_model=vstack(twice))
    assert many["error_50"] == pytest.approx(once["error_50"], rel=0.25)  # not smaller by sqrt(3)
    assert many["n_real"] == 50
    assert many["stamps_real"] == 150


# --- pitch and bars --------------------------------------------------------------------------------------------


def with_pitch(median, count=60, seed=0, **columns):
    pitch = np.random.default_rng(seed).normal(median, 6.0, count)
    return table([arms() + mottle((seed, i), 0.1) for i in range(count)], pitch=pitch, **columns)


def test_pitch_angles_are_compared_with_the_real_and_the_published():
    real = with_pitch(18.0)
    found = compute("pitch_angle", reencoded_real=real, reencoded_model=with_pitch(18.5, seed=1))
    assert found["value"] < 2.5
    assert found["model_50"] == pytest.approx(18.5, abs=2)
    assert found["armed_real"] == 1.0
    assert compute("pitch_angle_published", reencoded_real=real, reencoded_model=real)["value"] < 3
    wide = with_pitch(35.0, seed=1)
    assert not passes(compute("pitch_angle", reencoded_real=real, reencoded_model=wide))
    assert compute("pitch_angle_published", reencoded_real=real, reencoded_model=wide)["sigma_model_50"] > 6


def test_maps_without_arms_have_no_pitch():
    faint = table([0.01 * (arms() + mottle(i, 0.1)) for i in range(60)], pitch=np.full(60, 18.0))
    assert np.isnan(compute("pitch_angle", reencoded_real=with_pitch(18), reencoded_model=faint)["value"])
    model = table([bar() for _ in range(60)], pitch=np.full(60, 5.0))
    assert np.isnan(compute("pitch_angle", reencoded_real=with_pitch(18), reencoded_model=model)["value"])


def with_bars(share, count=80, **columns):
    strength = np.where(np.arange(count) < share * count, 0.6, 0.02)
    return table([bar()] * count, bar=strength, **columns)


def test_bar_fractions():
    real = with_bars(0.3)
    found = compute("bar_fraction", reencoded_real=real, reencoded_model=with_bars(0.3))
    assert (found["real_fraction"], found["model_fraction"]) == (0.3, 0.3)
    assert found["value"] == 0
    assert not passes(compute("bar_fraction", reencoded_real=real, reencoded_model=with_bars(0.9)))
    spheroids = with_bars(0.3, sersic_n=np.full(80, 4.0))
    assert np.isnan(compute("bar_fraction", reencoded_real=spheroids, reencoded_model=spheroids)["value"])


def test_published_bar_fractions_are_those_of_the_redshifts():
    share, error = published_bar_fraction(np.array([0.4, 0.75, 1.0, 3.9, 4.0, np.nan]))
    assert share[1:4] == pytest.approx([BAR_FRACTIONS[0][2], BAR_FRACTIONS[1][2], BAR_FRACTIONS[-1][2]])
    assert np.isnan(share[[0, 4, 5]]).all()
    assert (error[1:4] > 0).all()
    real = with_bars(0.25)
    found = compute("bar_fraction_published", reencoded_real=real, reencoded_model=real)
    assert found["published"] == pytest.approx(0.267)
    assert found["value"] < 1
    assert compute("bar_fraction_published", reencoded_real=real, reencoded_model=with_bars(0.9))["value"] > 4


@pytest.mark.skipif(not hasattr(structure, "measured_pitch"), reason="pitch angles are not measured yet")
@pytest.mark.parametrize("pitch", [12.0, 18.0, 26.0])
def test_pitch_is_measured_in_degrees(pitch):
    assert of(arms(2, pitch))["pitch"] == pytest.approx(pitch, abs=2.5)
    assert of(arms(2, -pitch))["pitch"] == pytest.approx(pitch, abs=2.5)


@pytest.mark.skipif(not hasattr(structure, "bar_strength"), reason="bars are not measured yet")
def test_bars_are_told_from_arms_and_rings():
    from skyloom.validate.reencoded_published import BARRED

    assert of(bar(strength=0.8))["bar"] > BARRED
    for field in (arms(2, 14), ring(), 0.1 * mottle(3)):
        assert of(field)["bar"] < BARRED


# --- from cutouts ----------------------------------------------------------------------------------------------


class Encoder:
    """Gives the map that a galaxy's id and band ask for."""

    def __init__(self, maps):
        self.maps, self.seen = maps, 0

    def encode_maps(self, cutouts):
        self.seen += len(cutouts)
        return np.stack([self.maps(c) for c in cutouts])


def test_only_bright_resolved_face_on_galaxies_are_judged():
    good = make_cutout()
    fit = good.fit
    others = [
        replace(fit, snr=30.0),
        replace(fit, half_light_radius=0.08),
        replace(fit, q=0.2),
        replace(fit, flag=128),
        None,
    ]
    assert judged_rows([good, *(replace(good, fit=other) for other in others)]) == [0]


def test_real_galaxies_are_encoded_once_and_paired():
    real = [make_cutout(i) for i in range(12)]
    real[3] = replace(real[3], fit=replace(real[3].fit, snr=5.0))
    encoder = Encoder(lambda c: arms(phase=c.galaxy_id))
    reencoder = Reencoder(encoder, real)
    made, rows = [real[i] for i in (0, 1, 3, 5, 7)], [0, 1, 3, 5, 7]
    found = reencoder.figures(made, rows)
    assert list(found["reencoded_real"]["galaxy_id"]) == list(found["reencoded_model"]["galaxy_id"]) == [0, 1, 5, 7]
    assert reencoder.figures(made, rows)["reencoded_model"]["m2"][0] > 0.95
    assert encoder.seen == 11 + 2 * 4
    several = reencoder.figures([*made, *made], [*rows, *rows])
    assert list(several["reencoded_model"]["galaxy_id"]) == [0, 1, 5, 7] * 2
    assert len(several["reencoded_real"]) == 4


def test_an_encoder_that_fails_gives_nothing(caplog):
    def fail(cutout):
        raise ValueError("stamps of 64 pixels only")

    assert Reencoder(Encoder(fail), [make_cutout()]).figures([make_cutout()], [0]) == {}
    assert "stamps of 64 pixels only" in caplog.text


def test_generators_that_cannot_encode_are_passed_over():
    encoder = Encoder(lambda c: arms())
    assert encoder_among([object(), encoder]) is encoder
    assert encoder_among([object()]) is None
    plan = SimpleNamespace(generators={"other": object()}, real=[], seed=1)
    assert reencoded_contexts(plan, [], {}, {}) == {}


def test_every_sample_gets_its_tables():
    real = [make_cutout(i) for i in range(3)]
    rows = SimpleNamespace(role="sersic", table={"real_row": np.arange(3)})
    plan = SimpleNamespace(generators={"cosmos": None, "other": Encoder(lambda c: arms())}, real=real, seed=1)
    found = reencoded_contexts(plan, real, {"Sersic": real, "real": real}, {"real": rows, "Sersic": rows})
    assert list(found) == ["Sersic"]
    assert len(found["Sersic"]["reencoded_model"]) == 3


# --- colour ----------------------------------------------------------------------------------------------------


def in_bands(galaxy_id, **fits):
    cutout = make_cutout(galaxy_id, q=0.8)
    bands = {"F115W": 1154.0, "F200W": 1990.0, "F444W": 4404.0}
    return [
        replace(cutout, band=band, wavelength=nm, fit=replace(cutout.fit, **fits.get(band, {})))
        for band, nm in bands.items()
    ]


def test_one_structure_in_all_bands_is_alike():
    found = pair_table(Encoder(lambda c: arms() + ring()), in_bands(3))
    assert len(found) == 3
    assert np.asarray(found["sky"]) == pytest.approx(1.0, abs=1e-3)
    assert sorted(found["ratio"]) == pytest.approx(sorted([1990 / 1154, 4404 / 1154, 4404 / 1990]))


def test_structures_of_their_own_are_not_alike_and_rings_do_not_count():
    wavelengths = {"F115W": 1, "F200W": 2, "F444W": 3}
    found = pair_table(Encoder(lambda c: ring() + mottle(wavelengths[c.band])), in_bands(3))
    assert np.abs(found["sky"]).max() < 0.35


def test_a_disc_measured_turned_and_larger_is_still_the_same_sky():
    """The long band's fit is turned by 40 degrees and 1.2 times larger: its map is turned back and shrunk."""
    cutouts = in_bands(0, F444W={"beta": 0.4 + np.radians(40), "half_light_radius": 0.6, "q": 1.0})
    cutouts = [replace(c, fit=replace(c.fit, q=1.0)) for c in cutouts if c.band != "F200W"]

    def seen(cutout):
        scale, turn = (1.2, np.radians(40)) if cutout.band == "F444W" else (1.0, 0.0)
        return 0.4 * np.cos(2 * (PHI + turn) - 4 * np.log(R * scale))

    found = pair_table(Encoder(seen), cutouts)
    assert found["sky"][0] == pytest.approx(1.0, abs=0.01)
    assert found["disc"][0] < 0.9


def test_one_orientation_is_that_of_the_best_band():
    cutouts = in_bands(0, F115W={"beta": 1.5}, F200W={"beta": -1.6, "snr": 900.0}, F444W={"beta": 0.0})
    assert {c.fit.beta for c in one_orientation(cutouts)} == {-1.6}
    apart = [replace(c, galaxy_id=i) for i, c in enumerate(cutouts)]
    assert [c.fit.beta for c in one_orientation(apart)] == [1.5, -1.6, 0.0]


def colour_tables(real_noise, model_noise):
    order = {"F115W": 1.0, "F200W": 2.0, "F444W": 3.0}

    def maps(noise, seed):
        return lambda c: (
            arms(phase=c.galaxy_id) + noise * order[c.band] * mottle((seed, c.galaxy_id, int(c.wavelength)))
        )

    cutouts = [c for i in range(20) for c in in_bands(i)]
    real, model = (pair_table(Encoder(maps(n, s)), cutouts) for s, n in enumerate((real_noise, model_noise)))
    return {"colour_real": real, "colour_model": model}


def test_colour_structure_tells_too_grey_and_too_colourful():
    same = compute("colour_structure", **colour_tables(0.4, 0.4))
    assert same["value"] < 2
    assert same["pairs_real"] == 60
    grey = compute("colour_structure", **colour_tables(0.4, 0.05))
    assert grey["value"] > 4
    assert grey["sigma_4"] > 0
    assert compute("colour_structure", **colour_tables(0.4, 1.5))["sigma_4"] < -4


def test_a_bin_of_wavelength_ratios_wants_several_galaxies():
    tables = colour_tables(0.4, 0.4)
    whole = compute("colour_structure", **tables)
    longest = np.asarray(tables["colour_real"]["ratio"]) > 2.7
    pairs = tables["colour_real"]
    few = pairs[~longest | np.isin(pairs["galaxy_id"], [0, 1, 2])]
    few = vstack([few, *[few[np.asarray(few["ratio"]) > 2.7]] * 3])  # pairs enough, of three galaxies
    found = compute("colour_structure", **(tables | {"colour_real": few}))
    assert "sigma_4" in whole
    assert "sigma_4" not in found
    assert found["sigma_2"] == pytest.approx(whole["sigma_2"], abs=0.5)


def test_galaxies_in_one_band_have_no_colour():
    encoder = Encoder(lambda c: arms())
    assert colour_figures(encoder, None, [make_cutout(i) for i in range(4)], lambda batch: [c.fit for c in batch]) == {}


def test_colour_draws_the_same_galaxy_in_every_band():
    real = [c for i in range(2) for c in in_bands(i)]
    fits = {(c.galaxy_id, c.band): c.fit for c in real}

    def refit(batch):
        return [fits[c.galaxy_id, c.band] for c in batch]

    found = colour_figures(Encoder(lambda c: arms(phase=c.galaxy_id)), None, real, refit)  # None: its Sersics
    assert len(found["colour_real"]) == len(found["colour_model"]) == 6


# --- the bootstrap ---------------------------------------------------------------------------------------------


def test_errors_of_medians_and_of_their_difference():
    rng = np.random.default_rng(1)
    x, y = rng.normal(0, 1, 400), rng.normal(0, 1, 400)

    def median(values):
        return lambda rows: np.array([np.median(values[rows])])

    labels = np.arange(400)
    found = compare_numbers(median(x), median(y), (labels, labels + 1000), rng)
    assert found.real_error[0] == pytest.approx(1.2533 / 20, rel=0.35)  # the bootstrap of a median is rough
    assert found.error[0] == pytest.approx(np.hypot(found.real_error[0], found.model_error[0]), rel=0.15)
    twin = compare_numbers(median(x), median(x + 0.01 * y), (labels, labels), rng)
    assert twin.error[0] < 0.02  # drawn together, what they share goes away
    assert compare_numbers(median(x), median(x), (labels, labels), rng).sigmas[0] == 0
    shifted = compare_numbers(median(0 * x), median(0 * x + 1), (labels, labels), rng)
    assert shifted.worst == np.inf
    assert shifted.rms == np.inf


# --- residual power --------------------------------------------------------------------------------------------


def powers(scale=1.0, seed=0, bright=1.0, count=150):
    rng = np.random.default_rng(seed)
    snr = np.geomspace(20, 2000, count)
    root = 0.1 * scale * rng.lognormal(0, 0.15, count) * np.where(snr > 450, bright, 1.0)
    columns = {"galaxy_id": np.arange(count), "band": ["a"] * count, "source": ["s"] * count}
    return Table({**columns, "fit_snr": snr, "residual_rms_smoothed": root, "flag_residual": np.zeros(count, int)})


@pytest.mark.parametrize("third", ["faint", "middle", "bright"])
def test_residual_power_is_a_ratio(third):
    metric = METRICS[f"residual_power_{third}"]
    same = metric.compute(powers(), powers(seed=1), seed=0)
    assert same["value"] == pytest.approx(0, abs=0.2)
    assert passes(same)
    assert 0.01 < same["error"] < 0.15
    more = metric.compute(powers(), powers(scale=np.sqrt(2)), seed=0)
    assert more["value"] == pytest.approx(1.0, abs=0.05)
    assert not passes(more)


def test_residual_power_looks_at_each_third():
    found = {
        n: METRICS[f"residual_power_{n}"].compute(powers(), powers(bright=0.6), seed=0)
        for n in ("faint", "middle", "bright")
    }
    assert found["faint"]["value"] == found["middle"]["value"] == 0
    assert found["bright"]["value"] == pytest.approx(0.36 - 1, abs=0.05)
    assert found["bright"]["snr_low"] > found["middle"]["snr_high"]


def test_no_residual_power_to_compare_is_no_number():
    real = powers()
    real["residual_rms_smoothed"] *= -1
    assert np.isnan(METRICS["residual_power_faint"].compute(real, powers(), seed=0)["value"])
    assert np.isnan(METRICS["residual_power_faint"].compute(powers(count=12), powers(count=12), seed=0)["value"])


# --- the real encoder ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encode():
    import skyloom
    from skyloom.generators.cvae.reencode import encode_cutouts

    model = skyloom.load_model("cosmos")
    return lambda cutouts: encode_cutouts(model.encoder, model.decoder, cutouts)


def bright(galaxy_id, **changes):
    return make_cutout(galaxy_id, half_light_radius=0.8, sigma=0.02, flux=4000.0, **changes)


def test_the_encoder_sees_arms_and_their_sense(encode):
    cutouts = [bright(i, structure=spiral(2, pitch)) for i, pitch in enumerate((5.0, -5.0))]
    found = map_statistics(encode(cutouts).astype(float))
    assert found["m2"].min() > 0.7
    assert found["chirality"][0] * found["chirality"][1] < 0
    assert found["abs_chirality"].min() > 0.5
    plain = map_statistics(encode([bright(3)]).astype(float))
    assert plain["rms"][0] < 0.3 * found["rms"].min()


def test_stamps_of_any_size_in_any_order(encode):
    cutouts = [bright(i, size=size, structure=spiral(2, 5.0)) for i, size in enumerate((96, 64, 96))]
    together = encode(cutouts)
    assert together.shape == (3, 32, 64)
    for i, cutout in enumerate(cutouts):
        assert encode([cutout])[0] == pytest.approx(together[i], abs=1e-4)


def test_a_sersic_counterpart_has_no_structure(encode):
    real = [bright(i, structure=spiral(2, 5.0)) for i in range(2)]
    fits = {c.galaxy_id: c.fit for c in real}
    made = list(Counterparts(real, None, lambda batch: [fits[c.galaxy_id] for c in batch], seed=1))
    found = Reencoder(SimpleNamespace(encode_maps=encode), real).figures(made, [0, 1])
    assert found["reencoded_model"]["rms"].max() < 0.3 * found["reencoded_real"]["rms"].min()


# --- the page --------------------------------------------------------------------------------------------------


def test_the_page_shows_numbers_side_by_side_and_marks_what_is_off():
    from skyloom.validate.reencoded_print import structure_page
    from skyloom.validate.run_scores import metric_lines

    mottled = table([mottle((9, i), 0.4) for i in range(50)])
    lines = []
    for name in ("reencoded_m2", "colour_structure"):
        models = {"good": table(galaxies(2)), "mottle": mottled}
        found = {
            model: compute(name, reencoded_real=REAL, reencoded_model=t, **colour_tables(0.4, 0.4))
            for model, t in models.items()
        }
        lines.append(metric_lines(METRICS[name], REAL, found))
    power = METRICS["residual_power_bright"]
    lines.append(metric_lines(power, powers(), {"good": power.compute(powers(), powers(seed=1), seed=0)}))
    page = structure_page(lines)
    head, share, *_ = page[1:]
    assert head.split() == ["structure", "real", "good", "mottle"]
    assert "*" not in share[:80]
    assert share.rstrip().endswith("*")
    assert sum("structure in two bands" in text for text in page) == 3
    assert any("+-" in text for text in page)
    assert structure_page([]) == []
