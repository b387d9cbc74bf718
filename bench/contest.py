"""A row of the table: contenders measured in turn, ratios made round by round, goals judged."""

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil
from statistics import median

# A goal that is missed by no more than this share is within the noise that the design allows.
TOLERANCE = 0.05

# Does one measurement; its argument counts the rounds from 0.
Measure = Callable[[int], float]


@dataclass
class Goal:
    """What the gate must reach beside a peer: that many times as fast. None: the peer is only reported."""

    peer: str
    times: float | None


@dataclass
class Line:
    """One line of the table, as text, and whether its goal was met; None where there is none."""

    work: str
    gate: str
    peer: str
    ratio: str
    spread: str
    goal: str
    met: bool | None
    verdict: str


@dataclass
class Contest:
    """Contenders, `gate` the first, that do the same work in turn."""

    work: str
    unit: str
    contenders: dict[str, Measure]
    goals: list[Goal]
    # False where a measurement is a time: then less is better.
    more_is_better: bool = True
    seen: dict[str, list[float]] = field(default_factory=dict)

    def run(self, rounds: int, told: Callable[[str], None]) -> None:
        """A B C A B C …"""
        self.seen = {name: [] for name in self.contenders}
        for turn in range(rounds):
            for name, measure in self.contenders.items():
                self.seen[name].append(measure(turn))
            told(", ".join(f"{name} {self.show(values[-1])}" for name, values in self.seen.items()))

    def show(self, value: float) -> str:
        """A value with its unit."""
        return f"{value:,.0f} {self.unit}" if value >= 100 else f"{value:.3g} {self.unit}"

    def lines(self) -> list[Line]:
        """One for each peer."""
        return [self._line(goal) for goal in self.goals]

    def _line(self, goal: Goal) -> Line:
        gate, peer = self.seen["gate"], self.seen[goal.peer]
        # Each round by itself: what slows the machine for a while slows both.
        ratios = [(a / b) if self.more_is_better else (b / a) for a, b in zip(gate, peer, strict=True)]
        ratio = median(ratios)
        met = None if goal.times is None else ratio >= goal.times
        verdict = "–" if goal.times is None else ("met" if met else "missed")
        if goal.times is not None and not met and ratio >= goal.times * (1 - TOLERANCE):
            met, verdict = True, "met, within 5 %"
        return Line(
            self.work,
            self.show(median(gate)),
            f"{goal.peer}: {self.show(median(peer))}",
            f"{ratio:.2f}×",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            "–" if goal.times is None else f"≥ {goal.times}×",
            met,
            verdict,
        )


def percentile(values: list[float], share: float) -> float:
    """The value that this share of all does not pass (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]


@dataclass
class Times:
    """Seconds that one thing took again and again, with goals for shares of them."""

    work: str
    peer: str
    seconds: list[float]
    # `(name, share, most)`: so many of all take no longer than `most` seconds; None: it is only reported.
    goals: list[tuple[str, float, float | None]]

    def lines(self) -> list[Line]:
        """One for each goal."""
        found = []
        for name, share, most in self.goals:
            value = percentile(self.seconds, share)
            met = None if most is None else value <= most * (1 + TOLERANCE)
            close = met and most is not None and value > most
            found.append(
                Line(
                    f"{self.work}: {name}",
                    milliseconds(value),
                    self.peer,
                    "",
                    f"{milliseconds(min(self.seconds))}–{milliseconds(max(self.seconds))}, {len(self.seconds)} times",
                    "–" if most is None else f"≤ {milliseconds(most)}",
                    met,
                    "–" if most is None else ("met, within 5 %" if close else "met" if met else "missed"),
                )
            )
        return found


def milliseconds(seconds: float) -> str:
    """In milliseconds, with three digits."""
    value = seconds * 1000
    return f"{value:,.0f} ms" if value >= 100 else f"{value:.3g} ms"
