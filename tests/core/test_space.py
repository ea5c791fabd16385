"""core.space: asking, checking, deriving and counting where nesting, tying and sharing meet."""

import hashlib
import itertools
import random

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from winnow.core.architecture import Architecture
from winnow.core.choosers import uniform
from winnow.core.decision import Decision
from winnow.core.holes import Choice, Hole
from winnow.core.space import Space
from winnow.train.seeds import seeded


def choice(name: str, inner: dict[str, nn.Module] | str, **options) -> Choice:
    """A choice among linear layers named by the letters of `inner`, or among given modules."""
    named = {letter: nn.Linear(2, 2) for letter in inner} if isinstance(inner, str) else inner
    return Choice(name, named, **options)


def nested() -> Space:
    """outer is deep (with inner open), flat, or wide (two of three, each with its own decision)."""
    wide = choice("wide", {str(i): choice(f"wide/{i}", "pq") for i in range(3)}, pick=2)
    return Space(nn.Sequential(choice("outer", {"deep": choice("inner", "xyz"), "flat": nn.Identity(), "wide": wide})))


def test_a_network_without_holes_is_no_space():
    with pytest.raises(ValueError, match="no open decision: nothing to search"):
        Space(nn.Linear(2, 2))


def test_a_fixed_network_is_a_space_of_one_architecture():
    net = nn.Linear(2, 2)
    space = Space(net, fixed=True)
    arch = space.decide(lambda d: d.values[0])
    assert (dict(arch), space.count(), [dict(each) for each in space.every()]) == ({}, 1, [{}])
    x = torch.randn(3, 2)
    assert torch.equal(space.derive(arch)(x), net(x))
    assert torch.equal(space(x, arch), net(x))


@pytest.mark.parametrize("other", [choice("a", "xz"), choice("a", "xyz", pick=2), choice("a", "yx")])
def test_one_name_is_one_decision(other):
    with pytest.raises(ValueError, match="'a' names two decisions"):
        Space(nn.Sequential(choice("a", "xy"), other))


def test_tied_holes_are_asked_once_and_answered_alike():
    space, asked = Space(nn.Sequential(choice("a", "xy"), choice("a", "xy"))), []

    def choose(d):
        asked.append(d.name)
        return "y"

    arch = space.decide(choose)
    assert (asked, dict(arch), space.count()) == (["a"], {"a": "y"}, 2)
    child = space.derive(arch)
    assert [torch.equal(child[i].weight, space.model[i].candidates["y"].weight) for i in (0, 1)] == [True, True]


def test_what_is_out_of_reach_is_never_asked():
    space = nested()
    for outer, others in [("flat", []), ("deep", ["inner"]), ("wide", ["wide", "wide/0", "wide/2"])]:
        asked = []

        def choose(d, outer=outer, asked=asked):
            asked.append(d.name)
            return {"outer": outer, "wide": ("0", "2")}.get(d.name, d.values[0])

        assert list(space.decide(choose)) == sorted(["outer", *others])
        assert asked == ["outer", *others]


def test_below_tells_what_opens_up():
    space = nested()
    outer = space.decisions["outer"]
    assert [[d.name for d in space.below(outer, o)] for o in outer.options] == [["inner"], [], ["wide"]]
    assert [d.name for d in space.below(space.decisions["wide"], "1")] == ["wide/1"]


def test_counting_and_enumerating_agree():
    space = nested()
    found = list(space.every())
    assert space.count() == len(found) == len(set(found)) == 3 + 1 + 3 * 4
    for arch in found:
        space.check(arch)


def test_a_decision_shared_by_two_options_is_counted_once_for_each():
    shared = choice("s", "pq")
    space = Space(nn.Sequential(choice("a", {"x": shared, "y": nn.Sequential(shared), "z": nn.Identity()})))
    assert space.count() == len(set(space.every())) == 2 + 2 + 1


def test_a_decision_shared_by_two_decisions_is_not_multiplied():
    space = Space(nn.Sequential(*[choice(n, {"x": choice("s", "pq"), "z": nn.Identity()}) for n in "ab"]))
    assert space.count() == len(set(space.every())) == 2 + 2 + 2 + 1  # asked unless both a and b say z


def test_options_of_mixtures_only_are_not_counted():
    space = Space(choice("a", {"none": choice("inner", "xy"), "p": nn.Identity()}, mixture_only=("none",)))
    assert space.count() == len(list(space.every())) == 1
    with pytest.raises(ValueError, match="'a' takes one of 'p', not 'none'"):
        space.check({"a": "none"})


def test_random_nestings_are_counted_as_they_are_enumerated():
    rng = random.Random(1)

    def grown(depth: int) -> nn.Module:
        if depth == 0 or rng.random() < 0.3:
            return nn.Identity()
        number = rng.randrange(12)  # a name may come again: such holes are tied, wherever they are
        inner = {str(i): nn.Sequential(*[grown(depth - 1) for _ in range(rng.randint(1, 2))]) for i in range(3)}
        return Choice(f"d{number}", inner, pick=2 if number % 4 == 0 else 1)

    sizes = []
    while len(sizes) < 12:
        space = Space(nn.Sequential(grown(2), grown(1), Choice("last", {"x": nn.Identity(), "y": nn.Identity()})))
        if 10 < space.count() <= 1000:
            found = list(space.every())
            assert len(found) == len(set(found)) == space.count()
            sizes.append(len(found))
    assert max(sizes) > 100


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        ({}, "leaves decision 'outer' open; it takes one of 'deep', 'flat', 'wide'"),
        ({"outer": "deep"}, "leaves decision 'inner' open"),
        ({"outer": "steep"}, "decision 'outer' takes one of 'deep', 'flat', 'wide', not 'steep'"),
        ({"outer": "flat", "inner": "x"}, "answers 'inner', which its other answers leave out of reach"),
        ({"outer": "flat", "edge": "x"}, "of another space: no decision 'edge' here"),
        ({"outer": "wide", "wide": ("2", "0"), "wide/0": "p", "wide/2": "p"}, "decision 'wide' takes one of"),
        ({"outer": "wide", "wide": "0", "wide/0": "p"}, "decision 'wide' takes one of"),
        ({"outer": ("deep",), "inner": "x"}, "decision 'outer' takes one of"),
    ],
)
def test_a_wrong_architecture_is_told_by_the_decision(arch, message):
    for verb in (nested().check, nested().derive):
        with pytest.raises(ValueError, match=message):
            verb(arch)


def test_a_foreign_answer_of_a_chooser_is_told():
    with pytest.raises(ValueError, match="decision 'outer' takes one of 'deep', 'flat', 'wide', not 'tall'"):
        nested().decide(lambda d: "tall")


def test_many_values_are_listed_in_part():
    with pytest.raises(ValueError, match="one of 0, 1, 2, 3, 4, 5, 6, 7 and 12 more, not 99"):
        Space(Choice("a", {i: nn.Identity() for i in range(20)})).check({"a": 99})


X = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))


def test_a_choice_may_be_a_candidate_of_a_choice():
    space = Space(choice("a", {"in": choice("b", {"in": choice("c", "xy"), "out": nn.ReLU()}), "out": nn.Identity()}))
    for arch in space.every():
        assert torch.equal(space(X, arch), space.derive(arch)(X))
    assert space.count() == 4


def test_a_hole_that_is_used_twice_is_settled_before_both_uses():
    shared = choice("i", "ab")
    space = Space(nn.Sequential(shared, choice("o", {"x": nn.Sequential(shared, nn.ReLU()), "y": nn.Identity()})))
    for arch in space.every():
        assert torch.equal(space(X, arch), space.derive(arch)(X))
    child = space.derive({"i": "a", "o": "x"})
    assert child[0] is child[1][0]


def test_what_candidates_share_the_child_shares():
    layer = nn.Linear(2, 2)
    space = Space(nn.Sequential(*[choice(name, {"shared": layer, "own": nn.Linear(2, 2)}) for name in "ab"]))
    both = space.derive({"a": "shared", "b": "shared"})
    assert both[0] is both[1]
    assert both[0] is not layer
    assert len(list(both.parameters())) == 2


def test_a_child_holds_copies_of_what_was_kept_and_nothing_else():
    space = nested()
    arch = {"outer": "deep", "inner": "y"}
    child = space.derive(arch)
    assert [type(m) for m in child.modules()] == [nn.Sequential, nn.Linear]
    before = space(X, arch)
    with torch.no_grad():
        child[0].weight.zero_()
    assert torch.equal(space(X, arch), before)


@pytest.mark.parametrize("training", [True, False])
def test_a_child_is_in_the_mode_of_its_space(training):
    subset = choice("s", {str(i): nn.Sequential(nn.BatchNorm1d(2)) for i in range(3)}, pick=2)
    space = Space(nn.Sequential(subset)).train(training)
    assert {m.training for m in space.derive({"s": ("0", "2")}).modules()} == {training}


def test_what_was_frozen_in_evaluation_mode_stays_so():
    space = Space(choice("a", {"x": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "y": nn.BatchNorm1d(2)}))
    for module in space.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    for arch in space.every():
        assert torch.equal(space(X, arch), space.derive(arch)(X))


def test_the_digest_tells_spaces_of_other_questions_apart():
    spaces = [
        Space(choice("a", "xy")),
        Space(choice("b", "xy")),
        Space(choice("a", "yx")),
        Space(choice("a", "xyz")),
        Space(choice("a", "xyz", pick=2)),
        Space(choice("a", "xyz", mixture_only=("z",))),
    ]
    assert len({space.digest for space in spaces}) == len(spaces)
    assert Space(choice("a", "xy")).digest == spaces[0].digest


def test_every_random_architecture_is_among_the_enumerated():
    space, rng = nested(), random.Random(0)
    assert {space.decide(uniform(rng)) for _ in range(400)} == set(space.every())


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_forward_pass_that_is_computed_again_has_the_setting_that_it_had(reentrant):
    """Activation checkpointing around holes; two graphs with two settings are alive at once."""

    def made() -> Space:
        with seeded(0):
            return Space(nn.Sequential(nn.Linear(4, 4), Choice("a", {"x": nn.Linear(4, 4), "y": nn.Linear(4, 4)})))

    class Checkpointed(nn.Module):
        def __init__(self, inner: nn.Module):
            super().__init__()
            self.inner = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint(self.inner, x, use_reentrant=reentrant)

    x = torch.ones(2, 4, requires_grad=True)
    plain = made()
    kept = made()
    settings = [{"a": "x"}, {"a": torch.tensor([0.25, 0.75])}]
    again = Space(Checkpointed(kept.model))
    losses = [[space(x, setting).square().sum() for setting in settings] for space in (plain, again)]
    for first, second in losses:
        second.backward()
        first.backward()
    for expected, found in zip(plain.parameters(), kept.parameters(), strict=True):
        assert torch.equal(expected.grad, found.grad)
    assert again.board.setting == {}
    with pytest.raises(LookupError, match="no value for decision 'a'"):
        again.model(x)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_child_of_a_network_with_computed_weights_can_be_derived():
    """The weight of `weight_norm` is an attribute with a gradient function, which copy.deepcopy refuses."""
    space = Space(
        nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 3)), Choice("a", {"x": nn.Identity(), "y": nn.ReLU()}))
    )
    space(torch.ones(1, 3), {"a": "x"}).sum().backward()
    child = space.derive(space.decide(lambda d: "x"))
    assert torch.equal(child(torch.ones(1, 3)), space(torch.ones(1, 3), {"a": "x"}))
    child(torch.ones(1, 3)).sum().backward()
    assert child[0].weight_g.grad is not None


def test_of_a_space_that_nobody_told_more_nothing_more_is_known():
    space = Space(choice("a", "xy"))
    assert (space.again, space.example, space.original, space.graphs) == (None,) * 4
    assert (space.table, dict(space.descriptions)) == ((), {})
    arch = Architecture.of({"a": "x"})
    assert space.represent(arch) is arch
    assert space.whole == space.decisions == {"a": Decision("a", ("x", "y"))}


@pytest.mark.parametrize(
    ("stands", "found"),
    [
        ({"a": "y"}, {"a": "y"}),
        ({}, {}),
        (None, None),  # computes nothing
        ({"a": "z"}, {"a": "x", "b": "p"}),  # no option here: the architecture stands for itself
        ({"c": "x"}, {"a": "x", "b": "p"}),
        ({"a": "y", "c": "x"}, {"a": "x", "b": "p"}),
    ],
)
def test_an_architecture_is_known_by_the_one_that_stands_for_it_where_that_is_an_answer_here(stands, found):
    space = Space(nn.Sequential(choice("a", "xy"), choice("b", "pq")))
    space.represent = lambda arch: None if stands is None else Architecture.of(stands)
    known = space.canonical(Architecture.of({"a": "x", "b": "p"}))
    assert (None if known is None else dict(known)) == found


def test_of_several_mistakes_the_first_by_name_is_told():
    space = nested()
    with pytest.raises(ValueError, match="no decision 'edge' here, but one of 'outer', 'inner', 'wide', 'wide/0'"):
        space.check({"outer": "flat", "node": "x", "edge": "x"})
    with pytest.raises(ValueError, match="answers 'inner', which"):
        space.check({"outer": "flat", "wide/0": "p", "inner": "x"})
    with pytest.raises(ValueError, match="no decision 'edge' here"):
        space.within({"node": ["x"], "edge": ["x"]})


@pytest.mark.parametrize(
    ("many", "listed"), [(8, "6, 7, not 99"), (9, "6, 7 and 1 more, not 99"), (1, "one of 0, not")]
)
def test_up_to_eight_values_are_listed_whole(many, listed):
    with pytest.raises(ValueError, match=listed):
        Space(Choice("a", {i: nn.Identity() for i in range(many)})).check({"a": 99})


def test_architectures_come_in_the_order_of_their_values():
    flat = Space(nn.Sequential(choice("b", "pqr"), choice("a", "xy"), choice("c", "s")))
    found = [(arch["b"], arch["a"], arch["c"]) for arch in flat.every()]
    assert found == list(itertools.product("pqr", "xy", "s"))
    assert [dict(arch) for arch in nested().every()][:5] == [
        {"inner": "x", "outer": "deep"},
        {"inner": "y", "outer": "deep"},
        {"inner": "z", "outer": "deep"},
        {"outer": "flat"},
        {"outer": "wide", "wide": ("0", "1"), "wide/0": "p", "wide/1": "p"},
    ]


@pytest.mark.parametrize(
    ("pick", "least"), [(2, 1), (2, 0), (3, 1), (1, 0), (1, 1), (2, 2), (2, None), (3, 3), (4, 0), (4, None)]
)
def test_subsets_of_what_is_open_inside_are_counted_by_the_product_of_their_members(pick, least):
    letters = ("p", "pq", "pqr", "pqrs")
    inner = {str(i): choice(f"in/{i}", each) for i, each in enumerate(letters)}
    space = Space(choice("s", inner, pick=pick, least=least))
    sizes = range(pick if least is None else least, pick + 1)
    by_hand = sum(
        int(torch.tensor([len(each) for each in part], dtype=torch.int64).prod())
        for size in sizes
        for part in itertools.combinations(letters, size)
    )
    assert space.count() == by_hand == len(set(space.every()))


def test_a_decision_that_is_asked_in_any_case_is_counted_once_wherever_it_comes_again():
    again = Space(nn.Sequential(choice("s", "pqr"), choice("a", {"x": choice("s", "pqr"), "y": nn.Identity()})))
    assert again.count() == len(set(again.every())) == 6


def test_a_decision_below_two_options_of_a_subset_is_not_multiplied():
    shared = choice("s", "pq")
    inner = {"x": shared, "y": nn.Sequential(shared), "z": nn.Identity()}
    one = Space(choice("a", inner, pick=2))
    assert one.count() == len(set(one.every())) == 6  # each pair has x or y
    any_number = Space(choice("a", inner, pick=3, least=0))
    assert any_number.count() == len(set(any_number.every())) == 2 + 6 * 2  # () and (z,) ask nothing more


def test_tied_holes_that_open_different_decisions_are_counted_together_only_where_both_are_reached():
    def tied(name: str) -> Choice:
        return choice("t", {"x": choice(name, "pq"), "y": nn.Identity()})

    both = Space(nn.Sequential(tied("i"), tied("j")))
    assert both.count() == len(set(both.every())) == 4 + 1
    either = Space(choice("o", {"l": tied("i"), "r": tied("j"), "n": nn.Identity()}))
    assert either.count() == len(set(either.every())) == (2 + 1) + (2 + 1) + 1
    one_more = Space(nn.Sequential(tied("i"), choice("o", {"r": tied("j"), "n": nn.Identity()})))
    assert one_more.count() == len(set(one_more.every())) == (4 + 1) + (2 + 1)


def test_what_opens_below_is_told_in_walking_order_once_and_by_the_option():
    shared = choice("s", "pq")
    inner = nn.Sequential(choice("z", "pq"), shared, choice("b", {"x": choice("deeper", "pq")}), shared)
    space = Space(nn.Sequential(choice("a", {"x": inner, "y": shared}), choice("c", "pq")))
    assert [d.name for d in space.below(space.decisions["a"], "x")] == ["z", "s", "b"]
    assert [d.name for d in space.below(space.decisions["a"], "y")] == ["s"]
    assert space.below(space.decisions["c"], "p") == ()


def test_the_digest_is_of_the_decisions_sorted_by_name_for_ever():
    space = Space(nn.Sequential(choice("b", "xy", pick=2, least=0), choice("a", "pqr", mixture_only=("r",))))
    told = '[["a", ["p", "q", "r"], 1, ["r"]], ["b", ["x", "y"], 2, [], 0]]'
    assert space.digest == hashlib.sha256(told.encode()).hexdigest()[:12]
    assert Space(nn.Sequential(*reversed(space.model))).digest == space.digest
    assert len({Space(choice("b", "xy", pick=2, least=least)).digest for least in (None, 0, 1, 2)}) == 4


class Two(nn.Module):
    """Returns what it is given, what a layer makes of it, and no tensor, in a list or a tuple."""

    def __init__(self, kind: type):
        super().__init__()
        self.kind = kind
        self.a = choice("a", {"x": nn.Linear(2, 2), "y": nn.Tanh()})

    def forward(self, x: torch.Tensor):
        made = [x.detach(), "no tensor", *[checkpoint(self.a, x, use_reentrant=False) for _ in range(2)]]
        return self.kind(made)


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("part", [2, 3])
def test_of_several_outputs_each_can_be_computed_again_with_its_setting(kind, part):
    with seeded(0):
        space = Space(Two(kind))
    output = space(X.clone().requires_grad_(), {"a": "x"})
    assert type(output) is kind
    assert torch.equal(output[0], X)
    output[part].sum().backward()
    assert space.model.a.candidates["x"].weight.grad is not None
    assert space.board.setting == {}


class Both(Hole):
    """A hole of two decisions: their numbers, added to the input."""

    def __init__(self):
        super().__init__(Decision("up", (1, 2)), Decision("more", (10, 20)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + sum(self.answers().values())

    def settled(self, answers) -> nn.Module:
        layer = nn.Linear(2, 2)
        nn.init.eye_(layer.weight)
        nn.init.constant_(layer.bias, float(sum(answers.values())))
        return layer


def test_a_hole_of_two_decisions_asks_both_and_is_counted_and_derived_by_both():
    space = Space(nn.Sequential(Both(), choice("o", {"deep": Both(), "flat": nn.Identity()})))
    assert list(space.decisions) == ["up", "more", "o"]
    assert space.count() == len(set(space.every())) == 8
    for arch in space.every():
        torch.testing.assert_close(space.derive(arch)(X), space(X, arch))
    with pytest.raises(ValueError, match="leaves decision 'more' open; it takes one of 10, 20"):
        space.check({"up": 1})
