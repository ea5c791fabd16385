"""core.architecture: equal answers are equal objects, digests and text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.core.architecture import Architecture

options = st.text() | st.integers()
answers = st.dictionaries(st.text(min_size=1), options | st.lists(options, max_size=4).map(tuple), max_size=6)


@settings(deadline=None)
@given(answers)
def test_json_brings_back_the_very_same(choices):
    arch = Architecture.of(choices)
    again = Architecture.from_json(arch.to_json())
    assert again == arch
    assert (again.digest, hash(again), dict(again)) == (arch.digest, hash(arch), choices)


@settings(deadline=None)
@given(answers, st.randoms())
def test_the_order_of_asking_leaves_no_trace(choices, rng):
    items = list(choices.items())
    rng.shuffle(items)
    assert Architecture.of(dict(items)).to_json() == Architecture.of(choices).to_json()


def test_different_answers_have_different_digests():
    archs = [{"a": 1}, {"a": "1"}, {"a": (1,)}, {"a": (1, 2)}, {"a": (2, 1)}, {"b": 1}, {}, {"a": 1, "b": 1}]
    assert len({Architecture.of(arch).digest for arch in archs}) == len(archs)


def test_the_digest_is_for_ever():
    assert Architecture.of({"b": (0, 1), "a": "x"}).digest == "71a12e5561cd"  # sha256 of {"a":"x","b":[0,1]}


def test_it_is_a_mapping_that_cannot_be_changed():
    arch = Architecture.of({"b": [0, 1], "a": "x"})
    assert (list(arch), len(arch), arch["b"], arch.get("c"), "a" in arch) == (["a", "b"], 2, (0, 1), None, True)
    assert {**arch} == {"a": "x", "b": (0, 1)}
    with pytest.raises(KeyError, match="c"):
        arch["c"]
    with pytest.raises(TypeError):
        arch["a"] = "y"
    with pytest.raises(AttributeError):
        arch.choices = ()


@pytest.mark.parametrize("value", [None, 1.5, True, {"x": 1}, [1, None], [[1]], [True]])
def test_what_is_no_option_is_refused_by_name(value):
    with pytest.raises(ValueError, match="decision 'edge' takes text, an integer, or a list of them"):
        Architecture.of({"edge": value})
    with pytest.raises(ValueError, match="decision 'edge'"):
        Architecture.from_json(json.dumps({"edge": value}))


@pytest.mark.parametrize("text", ["[]", "3", '"normal"', "null"])
def test_json_that_is_no_object_is_refused(text):
    with pytest.raises(ValueError, match="an architecture is a JSON object of decisions"):
        Architecture.from_json(text)


@pytest.mark.parametrize("text", ["", "{", '{"a": }', '{"a": 1}}'])
def test_text_that_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match="line 1"):
        Architecture.from_json(text)


def test_a_refusal_says_the_decision_and_what_came():
    with pytest.raises(ValueError, match=r"^decision 'edge' takes text, an integer, or a list of them, not 1\.5$"):
        Architecture.of({"a": "x", "edge": 1.5})
    with pytest.raises(ValueError, match=r"^an architecture is a JSON object of decisions, not list$"):
        Architecture.from_json('["a"]')


def test_an_answer_is_found_wherever_its_name_stands():
    arch = Architecture.of({name: i for i, name in enumerate("dbca")})
    assert arch.choices == (("a", 3), ("b", 1), ("c", 2), ("d", 0))
    assert [arch[name] for name in "abcd"] == [3, 1, 2, 0]
    assert (len(arch.digest), len(Architecture.of({}))) == (12, 0)
