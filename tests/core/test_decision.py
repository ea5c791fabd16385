"""core.decision: an open question refuses to be asked wrongly."""

import pytest

from winnow.core.decision import Decision, Number, Subsets


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


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        ({"pick": 2}, (("x", "y"),)),  # all there are
        ({"pick": 0, "least": 0}, ((),)),
        ({"pick": 1, "least": 0}, ((), ("x",), ("y",))),
        ({"pick": 1, "least": 1}, (("x",), ("y",))),
        ({"pick": 2, "least": 2}, (("x", "y"),)),
        ({"pick": 1, "mixture_only": ("x",)}, ("y",)),
        ({"pick": 1, "mixture_only": ("x",), "least": 0}, ((), ("y",))),
        ({"options": (0, -1)}, (0, -1)),
    ],
)
def test_what_can_be_asked_has_these_answers(fields, values):
    assert tuple(Decision(**{"name": "a", "options": ("x", "y"), **fields}).values) == values


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": (True, "x")}, "decision 'a': an option is text or a whole number, not bool True: write text"),
        ({"options": ("x", 0.5)}, "decision 'a': an option is text or a whole number, not float 0.5: write text"),
        ({"pick": 3}, "decision 'a' cannot pick 3 of ('x', 'y')"),
        ({"pick": -1, "least": 0}, "decision 'a' cannot pick -1 of ('x', 'y')"),
        ({"pick": 1, "least": 2}, "decision 'a' picks up to 1, and at least 0: not 2"),
        ({"pick": 1, "least": -1}, "decision 'a' picks up to 1, and at least 0: not -1"),
        (
            {"options": ("x", "y", "w"), "mixture_only": ("x", "z")},
            "decision 'a': ('x', 'z') are not all among ('x', 'y', 'w')",
        ),
    ],
)
def test_a_refusal_says_what_is_taken_and_what_came(fields, message):
    with pytest.raises(ValueError, match="decision") as refusal:
        Decision(**{"name": "a", "options": ("x", "y"), **fields})
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("pick", "least", "several"),
    [(1, None, False), (2, None, True), (1, 1, True), (1, 0, True), (2, 1, True), (0, 0, True)],
)
def test_an_answer_is_a_tuple_where_several_may_be_taken_or_none(pick, least, several):
    d = Decision("a", ("x", "y"), pick, least=least)
    assert d.several is several
    assert all(isinstance(value, tuple) is several for value in d.values)


def test_one_option_is_taken_exactly_where_nothing_else_is_said():
    d = Decision("a", ("x", "y"))
    assert (d.pick, d.mixture_only, d.least) == (1, (), None)


@pytest.mark.parametrize("name", ["a/b/c/d", "a/b"])
def test_the_group_is_the_first_part_of_a_name(name):
    assert Decision(name, (0, 1)).group == "a"


def test_a_narrower_subset_takes_no_more_than_is_left_to_be_selected():
    d = Decision("a", ("none", "x", "y", "z"), 3, ("none",), 1)
    assert d.within(["none", "y", "x"]) == Decision("a", ("none", "x", "y"), 2, ("none",), 1)
    assert d.within(["x", "y", "z"]) == Decision("a", ("x", "y", "z"), 3, least=1)
    assert Decision("a", ("x", "y", "z"), 1, least=0).within("xy").pick == 1
    assert Decision("a", ("x", "y", "z"), 2).within("zx").values == (("x", "z"),)
    with pytest.raises(ValueError, match=r"'a' has no option 'q'; it has \('none', 'x', 'y', 'z'\)"):
        d.within(["x", "q", "p"])


SUBSETS = Subsets(("a", "b", "c", "d"), 1, 3)  # 4, 6 and 4 of them


def test_a_place_beyond_the_last_or_before_the_first_is_told_with_their_number():
    assert len(SUBSETS) == 14
    assert (SUBSETS[13], SUBSETS[-14], SUBSETS[0]) == (("b", "c", "d"), ("a",), ("a",))
    assert (SUBSETS[3], SUBSETS[4], SUBSETS[9], SUBSETS[10]) == (("d",), ("a", "b"), ("c", "d"), ("a", "b", "c"))
    for place in (14, -15):
        with pytest.raises(IndexError, match=f"there are 14 subsets, no number {place}$"):
            SUBSETS[place]


def test_subsets_are_sliced_as_lists_are():
    every = list(SUBSETS)
    for part in (slice(None, None, -1), slice(-3, None), slice(2, 12, 4), slice(5, 2), slice(10, 99)):
        assert SUBSETS[part] == tuple(every[part])


@pytest.mark.parametrize(
    "foreign", [(), ("a", "b", "c", "d"), ("b", "a"), ("a", "a"), ("a", "z"), ["a"], "a", None, ("a", "c", "b")]
)
def test_what_is_no_subset_is_none_and_has_no_place(foreign):
    assert foreign not in SUBSETS
    with pytest.raises(ValueError, match="none of the subsets"):
        SUBSETS.index(foreign)


def test_no_option_at_all_may_be_a_subset():
    with_none = Subsets(("a", "b"), 0, 2)
    assert list(with_none) == [with_none[i] for i in range(4)] == [(), ("a",), ("b",), ("a", "b")]
    assert [with_none.index(value) for value in with_none] == [0, 1, 2, 3]


def test_questions_are_keys_and_cannot_be_changed():
    for one, other, field in (
        (Decision("a", ("x",)), Decision("a", ("x",)), "name"),
        (Subsets(("x",), 0, 1), Subsets(("x",), 0, 1), "least"),
        (Number.open("a", (1, 2)), Number.open("a", (1, 2)), "decisions"),  # how it follows is not compared
    ):
        assert {one: 1}[other] == 1
        with pytest.raises(AttributeError):
            setattr(one, field, None)


def test_a_number_may_follow_from_several_decisions_and_be_the_same_for_many():
    area = Number((Decision("h", (1, 2, 4)), Decision("w", (2, 1))), lambda answers: answers["h"] * answers["w"])
    assert (area.values, area.largest) == ((1, 2, 4, 8), 8)
    assert area.map(lambda n: -n).values == (-8, -4, -2, -1)
    assert (Number.fixed(5).decisions, Number.fixed(5).of({}), Number.fixed(5).largest) == ((), 5, 5)


def test_a_number_of_words_is_told_the_word():
    with pytest.raises(ValueError, match="a number takes whole numbers for options, not 'small'"):
        Number.open("k", ("small",)).values  # noqa: B018
