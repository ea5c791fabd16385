"""spaces.auto: a network of one's own becomes a space; its children are the network without what was left out."""

import copy
import random

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.spaces.auto_networks import (
    NETWORKS,
    Dense,
    Grouped,
    Halves,
    Heads,
    Inverted,
    Mixer,
    Residual,
    Shuffled,
    Transformer,
)
from winnow.config.params import SpaceParams
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.core.space import Space
from winnow.run.exporting import as_onnx
from winnow.spaces import auto_check, build
from winnow.spaces.auto import auto
from winnow.spaces.auto_rules import RULES

FACTS = {"classes": 5, "image_channels": 3, "image_height": 16, "image_width": 16}
X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def network(kind: type[nn.Module]) -> nn.Module:
    """With statistics and scales that differ from channel to channel."""
    torch.manual_seed(0)
    net = kind()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)
    return net


def space_of(kind: type[nn.Module], **options) -> Space:
    return auto(lambda: network(kind), **options, **FACTS)


def drawn(space: Space, count: int) -> list:
    draws = random.Random(0)
    return [space.decide(lambda d: d.values[0]), *(space.decide(uniform(draws)) for _ in range(count - 1))]


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda kind: kind.__name__)
def case(request) -> tuple[type[nn.Module], Space]:
    return request.param, space_of(request.param)


def test_what_can_be_smaller_is_open(case):
    kind, space = case
    assert NETWORKS[kind] <= set(space.decisions)


@pytest.mark.parametrize("training", [False, True])
def test_the_largest_is_the_network_to_the_bit(case, training):
    kind, space = case
    net, space = network(kind).train(training), copy.deepcopy(space).train(training)
    child = space.derive(space.original)
    assert space.original == space.decide(lambda d: d.values[-1])
    assert child.state_dict().keys() == net.state_dict().keys()
    assert torch.equal(child(X), net(X))
    assert torch.equal(space(X, space.original), network(kind).train(training)(X))


@pytest.mark.parametrize("training", [False, True])
def test_a_child_computes_what_the_space_computes(case, training):
    space = copy.deepcopy(case[1]).train(training)
    for arch in drawn(space, 4):
        child = space.derive(arch)
        assert torch.equal(child(X), space(X, arch))
        statistics = [child.state_dict()[name] for name in child.state_dict() if name.endswith("running_mean")]
        again = [t for n, t in space.derive(arch).state_dict().items() if n.endswith("running_mean")]
        assert all(torch.equal(one, other) for one, other in zip(statistics, again, strict=True))


def silenced(net: nn.Module, child: nn.Module) -> nn.Module:
    """`net`, in which the channels that `child` lacks are 0 where they are read; found by the values of the weights."""
    have = dict(child.named_modules())
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and path in have:
            weight, kept = module.weight, have[path].weight
            gone = [i for i in range(weight.shape[1]) if not _column_of(weight, i, kept)]
            with torch.no_grad():
                weight[:, gone] = 0
    return net


def _column_of(weight: Tensor, i: int, kept: Tensor) -> bool:
    return any(torch.isin(kept[:, j].flatten(), weight[:, i].flatten()).all() for j in range(kept.shape[1]))


@pytest.mark.parametrize("kind", [Dense, Mixer])
def test_a_child_is_the_network_without_what_was_left_out(kind):
    """Found independently: what of the weights the child has is found by value, the rest is put to 0 in the network."""
    space = space_of(kind, elastic=["width"]).eval()
    for arch in drawn(space, 3):
        if arch == space.original:
            continue
        child = space.derive(arch)
        expected = silenced(network(kind).eval(), child)(X)
        assert not torch.allclose(expected, network(kind).eval()(X), rtol=1e-2)
        torch.testing.assert_close(child(X), expected, rtol=1e-4, atol=1e-5)


def test_smaller_has_fewer_weights_everywhere():
    for kind in (Inverted, Grouped, Shuffled):
        space = space_of(kind)
        small = space.derive(space.decide(lambda d: d.values[0]))
        assert sum(p.numel() for p in small.parameters()) < 0.4 * sum(p.numel() for p in network(kind).parameters())


def test_a_grouped_convolution_loses_whole_groups_or_narrows_all():
    grouped, shuffled = space_of(Grouped), space_of(Shuffled)
    assert grouped.derive(grouped.decide(lambda d: d.values[0])).wide[0].groups == 2
    small = shuffled.derive(shuffled.decide(lambda d: d.values[0]))
    assert (small.first[0].groups, small.first[0].out_channels, small.second[0].groups) == (4, 16, 4)


def test_the_count_is_exact():
    space = space_of(Residual, only=["stage"], widths=[0.5, 1], elastic=["width", "depth"])
    assert space.count() == len({arch.digest for arch in space.every()})


def test_only_and_except_name_paths_and_types():
    assert set(space_of(Dense, only=["two"]).decisions) == {"two/0/width", "two/0/kernel"}
    assert set(space_of(Dense, except_=["one", "two.0"]).decisions) == {"stem/0/width"}
    assert not any(name.endswith("squeeze/width") for name in space_of(Residual, except_=["Linear"]).decisions)
    assert "left out by only and except" in {why for _, _, why in space_of(Dense, only=["two"]).table}


def test_the_table_tells_why_the_rest_stays():
    rows = {path: why for path, what, why in space_of(Mixer).table if what == "fixed"}
    assert rows["patches"].startswith("a LayerNorm reads across them in blocks.0.norm")
    assert rows["head"] == "the network returns them"


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_of_weights_that_are_given_the_most_important_channels_stay(tmp_path, suffix):
    net = network(Dense)
    with torch.no_grad():
        for layer in (net.one[0], net.two[0], net.head):
            layer.weight[:, [0, 2, 4]] *= 0.01 if layer is not net.head else 1
    path = tmp_path / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(net.state_dict(), path)
    space = auto(Dense, weights=str(path), only=["stem"], elastic=["width"], **FACTS).eval()
    assert torch.equal(space(X, space.original), net.eval()(X))
    child = space.derive({"stem/0/width": 4})
    left = sorted(
        range(8),
        key=lambda i: (
            net.one[0].weight[:, i].abs().sum()
            + net.two[0].weight[:, i].abs().sum()
            + net.head.weight[:, 16 + i].abs().sum()
        ),
    )[4:]
    assert torch.equal(child.stem[0].weight, net.stem[0].weight[sorted(left)])


def test_of_groups_that_are_normalised_the_most_important_stay_whole(tmp_path):
    net = network(Heads)
    with torch.no_grad():
        net.mix.weight[:, 8:12] *= 100  # the third of eight groups
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    space = auto(Heads, weights=str(tmp_path / "w.safetensors"), only=["patches"], **FACTS)
    child = space.derive(space.decide(lambda d: d.values[0]))
    assert (child.groups.num_groups, child.groups.num_channels) == (2, 8)
    assert any(torch.equal(child.patches.weight[i : i + 4], net.patches.weight[8:12]) for i in (0, 4))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ["tow"]}, "space.only names 'tow', which is no path or type of the network; the nearest is 'two'"),
        ({"except_": ["Conv3d"]}, "the nearest is 'Conv2d'"),
        ({"only": "two"}, "takes a list of module paths or types"),
        ({"elastic": ["bits"]}, "elastic takes some of width, depth, kernel, not 'bits'"),
        ({"widths": [0]}, "widths takes shares"),
        ({"divisor": 0}, "divisor takes a whole number"),
        ({"only": ["head"]}, "nothing of .* can be elastic"),
        ({"weights": "nowhere.pt"}, "space.weights: no file nowhere.pt"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    with pytest.raises(Refused, match=said):
        space_of(Dense, **options)


def test_weights_of_another_network_are_refused_with_keys_and_shapes(tmp_path):
    state = network(Dense).state_dict()
    state["one.0.weight"] = torch.zeros(3, 8, 3, 3)
    state["other"] = state.pop("head.bias")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(Refused, match=r"no 'head.bias'; 'other', which the network has not; 'one.0.weight' of shape"):
        space_of(Dense, weights=str(tmp_path / "w.safetensors"))


def test_a_network_that_does_not_run_is_refused_with_its_line():
    class Broken(nn.Module):
        def forward(self, x):
            return x.reshape(7, 7)

    with pytest.raises(Refused, match=r"cannot be followed(.|\n)*test_auto.py, line \d+: return x.reshape\(7, 7\)"):
        auto(Broken, **FACTS)


def test_what_only_training_reads_is_cut_too():
    class Aided(Residual):
        def __init__(self):
            super().__init__()
            self.aid, self.drop = nn.Linear(16, 5), nn.Dropout2d(0.1)

        def forward(self, x):
            x = self.stage(self.stem(x))
            y = self.head(self.last(self.down(x)).flatten(1))
            return (y, self.aid(self.drop(x).mean((2, 3)))) if self.training else y

    space = auto(Aided, **FACTS)
    child = space.derive(space.decide(lambda d: d.values[0])).train()
    assert (child.aid.in_features, child.stem[0].out_channels) == (4, 4)
    assert child(X)[1].shape == (2, 5)


def test_a_layer_that_is_called_twice_is_one_and_shared_weights_stay():
    class Again(Dense):
        def forward(self, x):
            x = self.stem(x)
            x = torch.cat([x, self.one(x)], 1)
            return self.head(torch.cat([self.two(x) + self.two(x.flip(3)), x], 1)).mean((2, 3))

    class Tied(Dense):
        def __init__(self):
            super().__init__()
            self.other = nn.Conv2d(8, 12, 3, padding=1)
            self.other.weight = self.one[0].weight

        def forward(self, x):
            x = self.stem(x)
            x = torch.cat([x, self.one(x) + self.other(x)], 1)
            return self.head(torch.cat([self.two(x), x], 1)).mean((2, 3))

    assert NETWORKS[Dense] <= set(auto(Again, **FACTS).decisions)
    space = auto(Tied, **FACTS)
    assert set(space.decisions) == {"two/0/width", "two/0/kernel"}
    assert "one.0 and other share their weights" in {why for _, _, why in space.table}


def test_lazy_layers_are_opened_first():
    def lazy():
        return nn.Sequential(nn.LazyConv2d(16, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(5))

    space = auto(lazy, **FACTS)
    assert space.derive({"0/width": 8})[3].in_features == 8 * 14 * 14


def test_old_weight_norm_is_copied_and_holds_what_it_takes():
    class Normal(Dense):
        def __init__(self):
            super().__init__()
            with pytest.warns(FutureWarning, match="weight_norm"):
                self.one[0] = nn.utils.weight_norm(self.one[0])

    space = auto(Normal, **FACTS).eval()
    assert set(space.decisions) == {"two/0/width", "two/0/kernel"}
    assert torch.equal(space.derive(space.original)(X), space(X, space.original))


def test_what_float32_cannot_tell_float64_does(monkeypatch):
    """Where rounding is all the difference, children are right; a weight that is a millionth off is not rounding."""
    monkeypatch.setattr(auto_check, "CLOSE", 0.0)
    net, space = network(Residual).eval(), space_of(Residual).eval()
    archs = drawn(space, 3)
    assert [auto_check.differs(net, space.plan, space, arch, X) for arch in archs] == [None] * 3
    with torch.no_grad():
        net.head.weight *= 1 + 1e-6
    for arch in archs:
        assert "answers otherwise" in auto_check.differs(net, space.plan, space, arch, X)


def test_by_name_with_options_as_params_have_them():
    options = {"model": "tests.spaces.auto_networks:Dense", "except": ["two"]}
    space = build("auto", options, image_size=16, final=True, **FACTS)
    assert set(space.decisions) == {"stem/0/width", "one/0/width"}
    with pytest.raises(
        Refused, match=r"no option 'exept': it takes model, weights, only, except, .*did you mean 'except'"
    ):
        build("auto", {"model": options["model"], "exept": []}, **FACTS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Transformer, Halves, Shuffled])
def test_a_child_is_exported_with_any_batch(kind, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    space = space_of(kind).eval()
    child = space.derive(space.decide(lambda d: d.values[-1] if d.name.endswith("depth") else d.values[0]))
    as_onnx(child, (3, 16, 16)).save(tmp_path / "model.onnx")
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    for x in (X, torch.cat([X, X, X[:1]])):
        (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.tensor(found), child(x), rtol=1e-4, atol=1e-5)


def test_params_name_the_network_beside_the_space():
    given = SpaceParams.model_validate({"name": "auto", "model": "my_net:build", "except": ["head"]})
    assert given.options == {"model": "my_net:build", "except_": ["head"]}
    assert given.code == "my_net:build"
    with pytest.raises(ValueError, match="auto takes a network too: write model: 'my_net:build' beside its name"):
        SpaceParams.model_validate({"name": "auto"})


def test_what_is_wrongly_followed_is_closed_with_the_reason():
    """Channels that a network counts by a number of its own cannot be fewer: the check finds it, and the rest stays."""

    class Counting(Dense):
        def forward(self, x):
            x = self.stem(x)
            if not x.is_contiguous():  # which no graph can hold
                return x
            return self.head(
                torch.cat([self.two(torch.cat([x, self.one(x)], 1)), x.reshape(2, 8, 16, 16), self.one(x)], 1)
            ).mean((2, 3))

    space = auto(Counting, **FACTS)
    assert "stem/0/width" not in space.decisions
    assert {"one/0/width", "two/0/width"} <= set(space.decisions)
    why = {path: why for path, what, why in space.table if what == "fixed"}["stem.0"]
    assert why.startswith("smaller it does not run: shape '[2, 8, 16, 16]' is invalid")


def test_a_wrong_trace_is_found_and_closed(monkeypatch):
    """Planted: labels of a concatenation come in another order, so that wrong channels would be taken."""

    def wrong(tracer, func, args, kwargs, out):
        labels = func([tracer.of(each).expand(each.shape) for each in args[0]], *args[1:])
        tracer.tell(out, labels.roll(3, 1))

    monkeypatch.setitem(RULES, "cat", wrong)
    space = space_of(Dense)
    assert any(why.startswith("smaller it answers otherwise") for _, _, why in space.table)
    assert set(space.decisions) == {"two/0/kernel"}
