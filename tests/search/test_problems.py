"""Search problems of FOX-NAS: which variable answers which decision."""

from winnow.search.problems import Grids


def test_variables_are_all_depths_then_all_ratios_and_so_on():
    units = ("one", "two")
    of = ("depth", "block2/ratio", "block2/kernel", "block1/ratio", "block1/kernel")
    names = [f"{unit}/{what}" for what in of for unit in units]
    values = {name: (f"{name} 0", f"{name} 1", f"{name} 2") for name in names}
    grids = Grids(units, {name: values[name] for name in sorted(values)})
    point = tuple(place % 3 for place in range(10))
    assert grids.answers(point) == {name: f"{name} {place % 3}" for place, name in enumerate(names)}


def test_the_variables_of_a_point_are_a_row_a_kind():
    values = {f"{unit}/depth": (2, 3) for unit in ("one", "two")}
    told = Grids(("one", "two"), values).variables((0, 1, *[0] * 8))
    assert told.shape == (1, 5, 2)
    assert told[0].tolist() == [[2, 3], *[[0, 0]] * 4]
