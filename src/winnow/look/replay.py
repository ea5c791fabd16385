"""Regret curves of replayed searches."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from winnow.look.style import CONTROL, SERIES, sheet, styled

Band = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, low, high by evaluations


@styled()
def draw_regret(curves: Mapping[str, Band], metric: str, seeds: int) -> Figure:
    """One line a strategy with its band, both axes logarithmic; random search is the grey one."""
    figure = sheet(900, 480)
    axes = figure.add_subplot()
    others = iter(SERIES * len(curves))
    floor = min(mean[mean > 0].min() for mean, _, _ in curves.values() if (mean > 0).any()) / 2
    for name, (mean, low, high) in curves.items():
        colour = CONTROL if name == "random" else next(others)
        spent = np.arange(1, len(mean) + 1)
        axes.plot(spent, np.maximum(mean, floor), color=colour, label=name)
        axes.fill_between(spent, np.maximum(low, floor), np.maximum(high, floor), color=colour, alpha=0.2, linewidth=0)
    axes.set(xscale="log", yscale="log", xlabel="full evaluations", ylabel=f"mean regret of {metric}")
    axes.set_title(f"Regret on the table, mean of {seeds} seeds with 95 % intervals of the mean")
    axes.legend()
    return figure
