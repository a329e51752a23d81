"""The numbers of a run by name, one for each round or try, and how they are written: the median and its spread."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median


@dataclass
class Figures:
    """What one part has measured."""

    values: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, *values: float) -> None:
        """Add values under a name; five digits are more than any measurement here is worth."""
        self.values.setdefault(name, []).extend(float(f"{value:.5g}") for value in values)

    def has(self, name: str) -> bool:
        """Whether anything was measured under this name."""
        return bool(self.values.get(name))

    def mid(self, name: str) -> float:
        """The median."""
        return median(self.values[name])

    def share(self, name: str, share: float) -> float:
        """A percentile over all tries, such as 0.99."""
        return percentile(self.values[name], share)

    def ratio(self, name: str, limit: str) -> float:
        """One beside the other: the median of the rounds' own ratios, so that a machine's moods cancel out."""
        pairs = zip(self.values[name], self.values[limit], strict=True)
        return median(value / other for value, other in pairs)

    def spread(self, name: str, unit: str = "") -> str:
        """Write the median, and the lowest and highest value where there are several."""
        values = self.values[name]
        if len(values) == 1:
            return f"{written(values[0])}{unit}"
        return f"{written(median(values))}{unit} ({written(min(values))}–{written(max(values))})"

    def points(self, name: str, places: Iterable[int]) -> list[tuple[float, float]]:
        """The medians of `name at PLACE`, for a plot."""
        return [(place, self.mid(f"{name} at {place}")) for place in places if self.has(f"{name} at {place}")]

    def numbers_of(self, name: str) -> list[int]:
        """The places at which `name at PLACE` was measured."""
        start = f"{name} at "
        return sorted(int(one.removeprefix(start)) for one in self.values if one.startswith(start))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that is not exceeded by this share of all (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def written(value: float) -> str:
    """Write a number with three digits that mean something."""
    for least, places in ((100, 0), (10, 1), (1, 2)):
        if abs(value) >= least:
            return f"{value:,.{places}f}"
    return f"{value:.3f}" if value else "0"
