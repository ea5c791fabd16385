"""search.layers: which decisions are one layer, what an architecture takes of it, and what its members inherit."""

from torch import nn

from tests.search.toys import smooth
from winnow.core.architecture import Architecture
from winnow.core.decision import Number
from winnow.core.holes import Choice
from winnow.core.space import Space
from winnow.holes.elastic import Conv
from winnow.holes.split import Split
from winnow.search.layers import Layer, genes, held, layers_of


def candidates(*names: str) -> dict[str, nn.Module]:
    return {name: nn.Linear(2, 2) for name in names}


def test_decisions_over_the_same_candidates_are_one_layer_and_others_are_layers_of_their_own():
    shared, half = candidates("x", "y"), candidates("p")
    space = Space(
        nn.Sequential(
            Choice("a", shared),
            Choice("b", candidates("x", "y")),
            Choice("c", shared),
            Choice("d", {**half, **candidates("q")}),
            Choice("e", {**half, **candidates("r")}),
        )
    )
    assert layers_of(space) == [Layer(("a", "c")), Layer(("b",)), Layer(("d", "e"))], "one in common is enough"


def test_a_candidate_belongs_to_the_first_layer_that_holds_it():
    one, other = candidates("x"), candidates("y")
    space = Space(
        nn.Sequential(Choice("a", one), Choice("b", {**one, **other}), Choice("c", other), Choice("d", other))
    )
    assert layers_of(space) == [Layer(("a", "b", "c", "d"))]


def test_a_decision_that_takes_several_is_no_layer_and_neither_is_a_split():
    shared = candidates("x", "y", "z")
    assert layers_of(Space(nn.Sequential(Choice("a", shared, pick=2), Choice("b", shared)))) == [Layer(("b",))]
    members = [[Choice(f"m{i}", candidates("x", "y"))] for i in range(2)]
    split = Split("split", (0, 1), [Choice("s", candidates("x", "y"))], members, [nn.Linear(2, 2) for _ in range(2)])
    assert layers_of(Space(split)) == [Layer(("s",)), Layer(("m0",)), Layer(("m1",))]


def test_each_number_of_an_elastic_layer_is_a_layer():
    width, kernel = Number.open("width", (4, 8)), Number.open("kernel", (1, 3))
    space = Space(nn.Sequential(Conv(3, width, kernel), Conv(width, 2)))
    assert layers_of(space) == [Layer((name,)) for name in space.decisions]
    assert set(space.decisions) == {"width", "kernel"}


def test_the_options_of_a_layer_are_those_that_are_left_and_may_be_taken():
    space = Space(nn.Sequential(Choice("a", candidates("x", "y", "none"), mixture_only=("none",))))
    (layer,) = layers_of(space)
    assert layer.first == "a"
    assert layer.options(space) == ("x", "y")
    assert layer.options(space.within({"a": ["y", "none"]})) == ("y",)


def test_each_option_that_members_hold_is_told_once_by_the_first_of_its_layer():
    layers = [Layer(("a", "b", "c")), Layer(("d",)), Layer(("e", "f"))]
    arch = Architecture.of({"a": "x", "b": "y", "c": "x", "f": 3})
    assert list(held(layers, arch)) == [("a", "x"), ("a", "y"), ("e", 3)]


def test_members_that_were_not_reached_inherit_what_the_first_of_their_layer_has():
    layers = [Layer(("a", "b", "c")), Layer(("d",)), Layer(("e", "f"))]
    found = genes(layers, Architecture.of({"b": "y", "c": "z", "g": "w"}))
    assert found == {"a": "y", "b": "y", "c": "z", "g": "w"}, "and of layers that nobody reached nothing is known"


def test_where_nothing_is_inherited_genes_are_the_architecture_itself():
    space = smooth()
    arch = space.decide(lambda d: "skip")
    assert genes(layers_of(space), arch) is arch
    whole = Architecture.of({"a": "x", "b": "y"})
    assert genes([Layer(("a", "b"))], whole) is whole
    alone = Architecture.of({"a": "x"})
    assert genes([Layer(("a",)), Layer(("b",))], alone) is alone
