"""A difference between two methods in words."""

from __future__ import annotations

from vpbsd.compare.results.statistics import Difference

__all__ = ["counted", "points", "sentence"]


def sentence(difference: Difference, first: str, second: str) -> str:
    """Say in words what a difference tells, and what it does not.

    Parameters
    ----------
    difference
        `first` minus `second`.
    first, second
        Names of the two methods.
    """
    score = {"dice": "Dice", "cldice": "clDice"}[difference.score]
    interval = (
        f"{100 * difference.level:g} % interval {points(difference.low)} to "
        f"{points(difference.high)}"
    )
    many = difference.comparisons
    correction = f"after correction for {many} comparisons" if many > 1 else "in one comparison"
    if len(difference.per_seed) == 1:
        correction += (
            "; one seed, chance in training as other methods show it"
            if difference.borrowed
            else "; one seed, so that chance in training is not in the interval"
        )
    if not difference.significant and not difference.excludes_zero:
        return (
            f"No difference in {score} between {first} and {second} can be told: "
            f"{points(difference.value, signed=True)} points ({interval}), "
            f"p = {difference.p_corrected:.2g} {correction}."
        )
    side = "above" if difference.value > 0 else "below"
    told = (
        f"significant {correction}"
        if difference.significant
        else f"which is not significant {correction} (p = {difference.p_corrected:.2g})"
    )
    size = points(abs(difference.value))
    return f"{first} is {size} points of {score} {side} {second} ({interval}), {told}."


def counted(count: int, what: str) -> str:
    """Return a number of things in words: "1 seed", "3 patches"."""
    plural = "" if count == 1 else "es" if what.endswith("ch") else "s"
    return f"{count} {what}{plural}"


def points(share: float, *, signed: bool = False) -> str:
    """Return a share in points of a hundred, with one decimal and a true minus sign."""
    text = f"{100 * share:+.1f}" if signed else f"{100 * share:.1f}"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0").replace("-", "−")
