"""The sections of params.yaml about federated training: retrain.federation, search.trials.federated."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from winnow.config.section import Section, Threads
from winnow.core.options import Fraction, NotNegative, Positive, Share, Weight
from winnow.train.recipes import ALGORITHMS, Federation


class FederationParams(Section):
    """Who the clients are, and how they train together; `seed` deals rows to them, not retrain.seeds."""

    algorithm: Literal[ALGORITHMS] = "average"  # type: ignore[valid-type]
    column: str | None = None
    clients: Positive | None = None
    ks: Share | None = None
    seed: NotNegative = 0
    held_out: Annotated[float, Field(gt=0, lt=1)] = 0.1
    rounds: Positive = 10
    local_epochs: Positive = 1
    local_steps: Positive | None = None
    participation: Annotated[float, Field(gt=0, le=1)] = 1.0
    drop_out: Fraction = 0.0
    mu: Weight = 0.01
    shared: Annotated[float, Field(gt=0, lt=1)] = 0.05
    average_buffers: bool = True
    threads: Threads = 1

    @model_validator(mode="after")
    def of_one_kind(self) -> Self:
        if self.column is not None and (self.clients, self.ks) != (None, None):
            raise ValueError(f"column {self.column!r} says who the clients are: leave clients and ks out")
        if self.clients == 1:
            raise ValueError("clients: one alone is ordinary training: take 2 or more, or leave federation out")
        return self

    def federation(self, rounds: int | None = None) -> Federation:
        """How clients train, for so many `rounds` if not for its own."""
        given = {name: getattr(self, name) for name in Federation.__dataclass_fields__}
        return Federation(**{**given, "rounds": rounds or self.rounds})


class TrialFederated(Section):
    rounds: Positive = 3
