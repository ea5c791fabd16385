"""What winnow knows of a selection beside the function that chooses."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from winnow.core.options import options_of, taken
from winnow.search.bench import Bench, Chosen
from winnow.search.costs import Costs
from winnow.search.strategy import INITIALISED, LEFT


@dataclass(frozen=True)
class Selection:
    """`choose(bench, *, own options)` returns an architecture and rows of evidence.

    `needs` is what it asks of a search, one of `winnow.search.strategy.LEFT`; "" where it finds out by itself. `reason`
    is why, as the end of a sentence. `keeps_limits`: whether it looks at whole networks; `sums`: whether it keeps only
    those on what adds up over answers. `evidence` is how the report
    draws its rows: "masks", "children", "model" (children, and coefficients by decision), or "" for not at all.
    `seconds(costs, *, own options)` is what it will take. `trained`: whether weights that nobody trained mean nothing
    to it. `also` is a selection that it begins with, whose options it takes as `**options`.
    """

    choose: Callable[..., Chosen]
    needs: str = ""
    reason: str = ""
    keeps_limits: bool = False
    sums: bool = False
    evidence: str = ""
    trained: bool = False
    also: Callable[..., Chosen] | None = None
    seconds: Callable[..., float] = lambda costs: 0.0  # looks at numbers that are there

    def options(self) -> dict[str, tuple[Any, Any]]:
        """Its options, with types and defaults."""
        return options_of(self.functions())

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """All that take its options."""
        return (self.choose,) if self.also is None else (self.choose, self.also)

    def serves(self, leaves: Collection[str]) -> bool:
        """Whether it finds what it needs in what a strategy `leaves`."""
        return (not self.needs or self.needs in leaves) and not (self.trained and INITIALISED in leaves)

    def run(self, bench: Bench, options: Mapping[str, Any]) -> Chosen:
        return self.choose(bench, **options)

    def expected(self, costs: Costs, options: Mapping[str, Any]) -> float:
        """Seconds that it will take."""
        return self.seconds(costs, **taken(self.seconds, dict(options)))


F = TypeVar("F", bound=Callable[..., Chosen])


def selection(needs: str, reason: str, **facts: Any) -> Callable[[F], F]:
    """Say of a function what it `needs` and why, and more `facts` of `Selection`; it stays as it is."""

    def marked(choose: F) -> F:
        if needs not in LEFT:
            raise ValueError(f"a selection needs one of {', '.join(LEFT)}; not {needs!r}")
        vars(choose)["selection"] = Selection(choose, needs, reason, **facts)
        return choose

    return marked


def selection_of(function: Callable[..., Any]) -> Selection:
    """The record of a function; one that says nothing finds out for itself what the search left."""
    found = getattr(function, "selection", None)
    return found if isinstance(found, Selection) else Selection(function)


def unsummed(method: str, limits: str) -> str:
    """Why a selection that `sums` is refused beside `limits` on whole networks, and what would work."""
    return (
        f"{method!r} adds up what single answers cost, and milliseconds and memory of whole networks are no such sum "
        f"({limits}): select with evolution; for milliseconds, a model (`winnow calibrate`) as select.device serves too"
    )
