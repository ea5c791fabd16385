"""core.replace: an ordinary network becomes a space and stays what it was."""

import pytest
import torch
from torch import nn

from winnow.core.decision import Decision
from winnow.core.holes import Choice, Hole
from winnow.core.replace import replace


def either(path: str, module: nn.Module) -> Choice | None:
    """Every 3x3 convolution may stay or become an identity."""
    if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
        return Choice(path, {"conv": module, "skip": nn.Identity()})
    return None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1))
        self.absent = None
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.body(self.stem(x)).mean((2, 3)))


X = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [True, False])
def test_with_all_kept_the_space_computes_what_the_net_does(training):
    net = Net().train(training)
    space = replace(net, either)
    assert list(space.decisions) == ["body/0", "body/2"]
    kept = {"body/0": "conv", "body/2": "conv"}
    assert dict(space.original) == kept
    assert torch.equal(space(X, kept), net(X))
    assert torch.equal(space.derive(kept)(X), net(X))


def test_the_net_stays_as_it_was():
    net = Net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    space = replace(net, either)
    with torch.no_grad():
        for parameter in space.parameters():
            parameter.zero_()
    assert not any(isinstance(module, Choice) for module in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_what_lies_below_a_replaced_module_is_not_visited():
    seen = []

    def body(path, module):
        seen.append(path)
        return Choice("depth", {"full": module, "none": nn.Identity()}) if path == "body" else None

    assert replace(Net(), body).count() == 2
    assert seen == ["stem", "body", "head"]


def test_a_module_with_two_names_becomes_one_hole():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.second = self.first
            self.third = nn.Sequential(self.first)

        def forward(self, x):
            return self.third(self.second(self.first(x)))

    space = replace(Twice(), either)
    assert list(space.decisions) == ["first"]
    assert space.model.first is space.model.second is space.model.third[0]
    assert torch.equal(space(X, {"first": "skip"}), X)
    assert torch.equal(space.derive({"first": "conv"})(X), space(X, {"first": "conv"}))


def test_a_rule_that_replaces_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to search"):
        replace(Net(), lambda path, module: None)


def test_a_space_without_all_of_the_network_has_no_original():
    def changed(path: str, module: nn.Module) -> Choice | None:
        if path == "body/0":
            return Choice(path, {"conv": module, "skip": nn.Identity()})
        return Choice(path, {"wrapped": nn.Sequential(module), "skip": nn.Identity()}) if path == "body/2" else None

    assert replace(Net(), changed).original is None


def test_the_root_is_never_asked_about_and_paths_go_down_by_slashes():
    deep = nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU())), nn.Tanh())
    seen = []

    def rule(path, module):
        seen.append(path)
        return Choice(path, {"relu": module, "gelu": nn.GELU()}) if isinstance(module, nn.ReLU) else None

    assert list(replace(deep, rule).decisions) == ["0/1/0"]
    assert seen == ["0", "0/0", "0/1", "0/1/0", "1"]


def test_of_several_options_that_are_the_module_the_original_is_the_first():
    def rule(path, module):
        return Choice(path, {"other": nn.GELU(), "z": module, "a": module}) if path == "1" else None

    space = replace(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), rule)
    assert dict(space.original) == {"1": "z"}


def test_tied_holes_have_an_original_only_where_one_answer_keeps_both():
    def tied(orders):
        def rule(path, module):
            given = {"module": module, "other": nn.Identity()}
            return Choice("tied", {name: given[kept] for name, kept in zip("xy", orders[int(path)], strict=True)})

        return replace(nn.Sequential(nn.ReLU(), nn.Tanh()), rule)

    assert dict(tied([("other", "module"), ("other", "module")]).original) == {"tied": "y"}
    assert dict(tied([("module", "module"), ("other", "module")]).original) == {"tied": "y"}
    assert dict(tied([("other", "module"), ("module", "module")]).original) == {"tied": "y"}
    assert tied([("other", "module"), ("module", "other")]).original is None


def test_of_subsets_the_original_keeps_the_module():
    def rule(path, module):
        return Choice(path, {"x": nn.GELU(), "y": module, "z": nn.Tanh()}, pick=2, least=1)

    space = replace(nn.Sequential(nn.ReLU()), rule)
    assert dict(space.original) == {"0": ("y",)}


class Open(Hole):
    """A hole that is no choice among modules."""

    def __init__(self, name):
        super().__init__(Decision(name, (1, 2)))

    def forward(self, x):
        return x * self.answers()[self.decisions[0].name]


def test_a_hole_that_keeps_no_module_leaves_the_space_without_an_original():
    space = replace(nn.Sequential(nn.ReLU(), nn.Tanh()), lambda path, module: Open(path) if path == "1" else None)
    assert (list(space.decisions), space.original) == (["1"], None)


def test_a_hole_of_holes_has_an_original_where_its_own_answer_asks_no_more():
    def rule(path, module):
        return Choice("outer", {"other": Choice("inner", {"p": nn.GELU(), "q": nn.Tanh()}), "kept": module})

    assert dict(replace(nn.Sequential(nn.ReLU()), rule).original) == {"outer": "kept"}
