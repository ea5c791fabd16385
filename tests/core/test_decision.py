"""core.decision: an open question refuses to be asked wrongly."""

import pytest

from winnow.core.decision import Decision


def test_single_options_are_the_values():
    assert Decision("a", ("x", "y")).values == ("x", "y")


def test_subsets_are_the_values_in_the_order_of_the_options():
    assert Decision("a", (3, 1, 2), pick=2).values == ((3, 1), (3, 2), (1, 2))


def test_options_of_mixtures_only_are_no_values():
    assert Decision("a", ("none", "x", "y"), mixture_only=("none",)).values == ("x", "y")
    assert Decision("a", ("none", "x", "y"), pick=2, mixture_only=("none",)).values == (("x", "y"),)


@pytest.mark.parametrize(
    ("name", "group"), [("normal/2/0", "normal"), ("normal/2", "normal"), ("3<-1", ""), ("block/19", "block")]
)
def test_the_group_is_the_cell_type(name, group):
    assert Decision(name, (0, 1)).group == group


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": ""}, "name is text without a dot"),
        ({"name": "layer1.conv"}, "without a dot, not 'layer1.conv'"),
        ({"options": ("x", "x")}, "'a' has equal options"),
        ({"options": (1, "1")}, "'a' has equal options"),  # one key in JSON and in a ModuleDict
        ({"options": ()}, "cannot pick 1"),
        ({"pick": 0}, "cannot pick 0"),
        ({"pick": 3}, "cannot pick 3"),
        ({"pick": 2, "mixture_only": ("x",)}, "cannot pick 2"),
        ({"mixture_only": ("x", "y")}, "cannot pick 1"),
        ({"options": ("x", "y", "w"), "mixture_only": ("z",)}, "not all among"),
    ],
)
def test_what_cannot_be_asked_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Decision(**{"name": "a", "options": ("x", "y"), **fields})
