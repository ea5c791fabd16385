"""Open questions about a network, and their possible answers."""

import itertools
from dataclasses import dataclass
from functools import cached_property

Value = str | int | tuple[str | int, ...]  # an option, or `pick` of them


@dataclass(frozen=True)
class Decision:
    """Take `pick` of `options`. Decisions of one name are one decision: that is how cells are tied.

    Options in `mixture_only` take part in relaxed mixtures but no architecture may answer with them: DARTS trains with
    `none` and never selects it (Liu et al. 2019, section 2.4).
    """

    name: str  # "normal/2/0": the key in JSON, Optuna, MLflow and error messages; text before "/" names the cell type
    options: tuple[str | int, ...]  # smallest first where they have an order
    pick: int = 1
    mixture_only: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        if not self.name or "." in self.name:
            raise ValueError(f"a decision's name is text without a dot, not {self.name!r}")
        for option in self.options:
            if isinstance(option, bool) or not isinstance(option, str | int):
                came = f"{type(option).__name__} {option!r}"
                raise ValueError(f"decision {self.name!r}: an option is text or a whole number, not {came}: write text")
        if len({str(option) for option in self.options}) != len(self.options):
            raise ValueError(f"decision {self.name!r} has equal options: {self.options}")
        if not 1 <= self.pick <= len(self.options) - len(self.mixture_only):
            raise ValueError(f"decision {self.name!r} cannot pick {self.pick} of {self.options}")
        if not set(self.mixture_only) <= set(self.options):
            raise ValueError(f"decision {self.name!r}: {self.mixture_only} are not all among {self.options}")

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """What an architecture may answer: single options, or `pick` of them in the order of `options`."""
        selectable = tuple(option for option in self.options if option not in self.mixture_only)
        return selectable if self.pick == 1 else tuple(itertools.combinations(selectable, self.pick))

    @property
    def group(self) -> str:
        """The cell type that the decision belongs to: "normal" for "normal/2/0", "" for "3<-1"."""
        return self.name.rpartition("/")[0].split("/")[0]
