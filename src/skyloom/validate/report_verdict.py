"""Pass or fall short, and the verdict in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from skyloom.validate.report_data import Line, Outcome, Sample, Score

__all__ = [
    "ALLOWED_FLOORS",
    "ALLOWED_SIGMAS",
    "ONE_SIDED",
    "TELLING",
    "cautions",
    "headline",
    "ideal_score",
    "judge",
    "verdict",
]

ALLOWED_FLOORS = 2.0
"""A sample passes when it is no further from the ideal than this many times the noise floor."""

ALLOWED_SIGMAS = 3.0
"""And when its excess over the floor is no more than this many of their errors.

A validation makes some fifty comparisons. At one sigma, random halves of real galaxies fell short of each other in two
of them on average, at two sigma in one of every second validation, at three in one of every tenth.
"""

WITHIN_ERROR = "within the error"
"""Note of a pass that the floor alone would not give."""

_IDEALS = {"lower": 0.0, "higher": 1.0, "zero": 0.0, "half": 0.5, "one": 1.0}
_FEW_GALAXIES = 200
ZERO_POINT_OFF = 2.0
"""Magnitudes between the medians of a sample and of the real galaxies that make its zero point doubtful."""

TELLING = frozenset(
    {"auc_forest", "wasserstein_asymmetry", "wasserstein_smoothness", "wasserstein_residual_rms", "power_spectrum"}
)
"""Metrics by which plain Sersic profiles should fall short."""

ONE_SIDED = frozenset({"half"})
"""Kinds of metric whose values below the ideal are as good as the ideal."""


def ideal_score(better: object) -> float:
    """The perfect score of a metric by its `better`: a word (see `skyloom.descriptors.Metric`) or a number."""
    if isinstance(better, (int, float)) and not isinstance(better, bool):
        return float(better)
    return _IDEALS.get(str(better), math.nan)


def judge(
    value: float,
    error: float,
    floor: float,
    ideal: float,
    *,
    floor_error: float = math.nan,
    note: str = "",
    one_sided: bool = False,
    tolerance: float = math.nan,
) -> Score:
    """Judge one number against the noise floor.

    It passes when its distance from the ideal is at most twice that of real galaxies from real ones, or when
    its excess over that floor is within three sigma of the two: a difference that the sample cannot show is
    held against nobody.

    Parameters
    ----------
    value, error : float
        One sigma; NaN for no error.
    floor : float
        The score of real against real.
    ideal : float
        The perfect score.
    floor_error : float
        Scatter of the floor; NaN where it is not known.
    note : str
    one_sided : bool
        Whether a value below the ideal is as good as the ideal: a classifier that does worse than chance on galaxies
        it has not seen has learned nothing that tells the samples apart.
    tolerance : float
        Distance from the ideal that is allowed where a metric demands it, e.g. chi2 of 1 +- 0.02; it takes the place
        of the floor. Three sigma are allowed on top, of at most this much each.
    """
    value_away = _away(value, ideal, one_sided)
    if math.isfinite(value) and not math.isfinite(ideal):
        return Score(value, error, floor, "not judged", note=note or "for information")
    if not math.isfinite(value):
        return Score(value, error, floor, "not judged", note=note or "not measured")
    if math.isfinite(tolerance):
        # a larger error is no noise: the galaxies differ among themselves, as in a bin whose chi2 is 56 +- 22
        slack = ALLOWED_SIGMAS * min(error, tolerance) if math.isfinite(error) else 0.0
        kept: Outcome = "pass" if value_away - slack <= tolerance else "falls short"
        if kept == "pass" and value_away > tolerance:
            note = note or WITHIN_ERROR
        return Score(value, error, floor, kept, note=note, tolerance=tolerance)
    if not math.isfinite(floor):
        if not math.isfinite(error):
            return Score(value, error, floor, "not judged", note=note or "no noise floor")
        outcome: Outcome = "pass" if value_away <= ALLOWED_SIGMAS * error else "falls short"
        return Score(value, error, floor, outcome, note=note)
    distance, allowed = value_away, abs(floor - ideal)
    slack = ALLOWED_SIGMAS * math.hypot(*(e for e in (error, floor_error) if math.isfinite(e)))
    passes = distance <= ALLOWED_FLOORS * allowed or distance - slack <= allowed
    multiple = distance / allowed if allowed > 0 else (0.0 if distance == 0 else math.inf)
    if passes and distance > ALLOWED_FLOORS * allowed:
        note = note or WITHIN_ERROR
    return Score(value, error, floor, "pass" if passes else "falls short", multiple, note)


def verdict(name: str, lines: Sequence[Line], sample: Sample, real: Sample, baseline: str = "Sersic") -> str:
    """One paragraph on one sample."""
    passed, short = _sorted(lines, name)
    judged = len(passed) + len(short)
    if not judged:
        return f"{name} could not be judged: no metric gave a number."
    text = [f"It passes {len(passed)} of {judged} comparisons with {len(real.table)} stamps of real galaxies"]
    if short:
        text.append(f" and falls short in {len(short)}: {_worst(short, name)}")
    text.append(".")
    pairs = [(_distance(line, name), _distance(line, baseline)) for line in lines]
    both = [(own, other) for own, other in pairs if own is not None and other is not None]
    if both and name != baseline:
        closer = sum(own < other for own, other in both)
        text.append(f" It is closer to the real galaxies than plain Sersic profiles in {closer} of {len(both)}.")
        plain, plain_short = _sorted(lines, baseline)
        fall = f" and fall short in {len(plain_short)}: {_worst(plain_short, baseline)}" if plain_short else ""
        text.append(f" Plain Sersic profiles pass {len(plain)} of {len(plain) + len(plain_short)}{fall}.")
        text.append(_power_to_tell(lines, baseline))
    if sample.set_aside and sample.role == "model":
        text.append(f" {len(sample.set_aside)} of its galaxies could not be made or measured.")
    return name + "".join(text).removeprefix("It")


def _power_to_tell(lines: Sequence[Line], baseline: str) -> str:
    """Which of the measures meant to tell Sersic profiles from real galaxies do so on these, and which cannot."""
    judged = [(line, line.scores[baseline]) for line in lines if line.metric in TELLING and baseline in line.scores]
    tell = [line.label for line, score in judged if score.outcome == "falls short"]
    cannot = [
        f"{line.label} ({score.value:.2g} against a floor of {score.floor:.2g})"
        for line, score in judged
        if score.outcome == "pass"
    ]
    text = f" Of the measures meant to tell plain Sersic profiles from real galaxies, these do: {', '.join(tell)}."
    text = text if tell else ""
    return text + (f" These cannot on galaxies as many and as noisy as these: {', '.join(cannot)}." if cannot else "")


def headline(names: Sequence[str], lines: Sequence[Line], baseline: str = "Sersic") -> str:
    """One sentence on all judged samples, and whether plain Sersic profiles would have earned the same one."""
    graded = {name: _grade(*map(len, _sorted(lines, name))) for name in names}
    parts = [f"{name} {grade}" for name, grade in graded.items()]
    plain = _sorted(lines, baseline)
    if any(plain) and _grade(*map(len, plain)) in graded.values():
        parts.append("plain Sersic profiles are judged the same")
    return "; ".join(parts) + "." if parts else "Nothing was judged."


def cautions(real: Sample, samples: Mapping[str, Sample]) -> list[str]:
    """What a reader should hold against the numbers themselves."""
    found = []
    n = len(real.table)
    if n < _FEW_GALAXIES:
        found.append(
            f"Only {n} stamps of real galaxies were judged: the noise floor is high, and only large differences show. "
            "A pass says little; a failure is one."
        )
    names = [real.table[name] for name in ("source", "galaxy_id") if name in real.table.colnames]
    galaxies = len(set(zip(*names, strict=True))) if names else n
    if galaxies < n:
        found.append(
            f"The {n} real stamps are of {galaxies} galaxies in several bands. Errors and floors take the stamps of a"
            " galaxy together, so there is less to go by than their number says."
        )
    chosen, looked = real.faults, real.asked
    if looked and len(chosen) > 0.2 * looked:
        found.append(
            f"{len(chosen)} of {looked} cutouts were set aside (listed below): what is judged may"
            " not be what the survey holds."
        )
    for name, sample in samples.items():
        apart = _median_mag(sample) - _median_mag(real)
        if abs(apart) > ZERO_POINT_OFF:
            found.append(
                f"The galaxies of {name} are {abs(apart):.1f} mag {'fainter' if apart > 0 else 'brighter'} than the"
                " real ones in the median: is its zero point right?"
            )
    lost = {name: max(map(_lost, sample.failed.values()), default=0) for name, sample in samples.items()}
    many = [f"{name} {k}" for name, k in lost.items() if k > 0.1 * max(len(samples[name].table), 1)]
    if many:
        found.append(f"More than a tenth of the stamps could not be measured by some tool: {', '.join(many)}.")
    return found


def _median_mag(sample: Sample) -> float:
    mags = np.asarray(sample.table["fit_mag"], dtype=float) if "fit_mag" in sample.table.colnames else np.empty(0)
    mags = mags[np.isfinite(mags)]
    return float(np.median(mags)) if mags.size else math.nan


def _lost(counts: Mapping[str, int]) -> int:
    return max((counts.get(k, 0) for k in ("failed", "no_fit", "few_pixels", "bad_input")), default=0)


def _sorted(lines: Sequence[Line], name: str) -> tuple[list[Line], list[Line]]:
    """Lines that a sample passes, and those it falls short in, worst first."""
    scored = [line for line in lines if name in line.scores]
    passed = [line for line in scored if line.scores[name].outcome == "pass"]
    short = [line for line in scored if line.scores[name].outcome == "falls short"]
    return passed, sorted(short, key=lambda line: -_rank(line, name))


def _worst(short: Sequence[Line], name: str) -> str:
    """The five lines a sample falls shortest in, and how many more there are."""
    more = f" and {len(short) - 5} more" if len(short) > 5 else ""
    return "; ".join(_with_multiple(line, name) for line in short[:5]) + more


def _grade(passed: int, short: int) -> str:
    judged = passed + short
    share = passed / judged if judged else 0.0
    if not judged:
        return "could not be judged"
    if passed == judged:
        return "cannot be told from real galaxies by these measurements"
    if share >= 0.8:
        return "is close to real galaxies, with exceptions"
    return "resembles real galaxies in part" if share >= 0.5 else "does not look like real galaxies"


def _with_multiple(line: Line, name: str) -> str:
    score = line.scores[name]
    multiple = score.multiple
    if math.isfinite(score.tolerance):
        return f"{line.label} ({score.value:.3g} where {line.ideal:g} ± {score.tolerance:g} is asked)"
    if not math.isfinite(multiple):
        return line.label
    times = f"{multiple:.1f}" if multiple < 100 else "over 100"
    return f"{line.label} ({times} × the floor)"


def _distance(line: Line, name: str) -> float | None:
    score = line.scores.get(name)
    if score is None or not math.isfinite(score.value):
        return None
    return _away(score.value, line.ideal, line.better in ONE_SIDED)


def _away(value: float, ideal: float, one_sided: bool) -> float:
    return max(value - ideal, 0.0) if one_sided else abs(value - ideal)


def _rank(line: Line, name: str) -> float:
    """Multiple of the floor, or of half the tolerance, which a pass may be twice of; no more than 10 of those."""
    score = line.scores[name]
    if math.isfinite(score.tolerance):
        return min(2 * abs(score.value - line.ideal) / score.tolerance, 10.0)
    return 0.0 if math.isnan(score.multiple) else score.multiple
