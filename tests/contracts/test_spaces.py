"""What every space promises. A new space is one row in `space_cases.CASES`."""

import copy
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from winnow.core.architecture import Architecture
from winnow.core.space import Space
from winnow.measure.cost import macs, params
from winnow.proxies.sizes import sizes_of
from winnow.search.objective import objective
from winnow.train.recompute import cells
from winnow.train.seeds import materialise, seeded

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # "space_cases:conditional" is a user's dotted path
from space_cases import CASES, covering, digests, drawn, small  # noqa: E402

SAMPLES = 30
# what depends on the builder and not on its candidates is shown once a builder
once_a_builder = pytest.mark.parametrize(
    "case", ["nas_bench_101", "nas_bench_201", "darts", "mobile", "ofa", "fpn", "interactions", "replace", "user"]
)


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@pytest.fixture
def space(case):
    """The small space of `case` in training mode; what a test changes is put back."""
    space = small(case)
    before = {name: value.clone() for name, value in space.state_dict().items()}
    yield space.train()
    space.load_state_dict(before)
    space.zero_grad()


def images(case: str, batch: int = 3) -> torch.Tensor:
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(batch, *CASES[case].shape, generator=draws)
    if count := CASES[case].fields:
        x[:, :count] = torch.randint(4, (batch, count), generator=draws).float()
    return x


def run(module: nn.Module, *arguments: object) -> torch.Tensor:
    """Noise and dropout are drawn from torch's global stream: the same draws for everybody. Members one by one."""
    with seeded(0):
        output = module(*arguments)
        return torch.cat(output) if isinstance(output, tuple) else output


def equal_states(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return list(first) == list(second) and all(torch.equal(first[name], second[name]) for name in first)


def one_hot(space: Space, arch: Architecture) -> dict[str, object]:
    """`arch` as mixture weights for every single choice, reached or not; subsets are answered."""
    setting: dict[str, object] = {}
    for d in space.decisions.values():
        if d.several:
            setting[d.name] = arch.get(d.name, d.values[0])
        else:
            answer = arch.get(d.name, d.options[0])
            setting[d.name] = torch.tensor([float(option == answer) for option in d.options])
    return setting


def test_json_brings_back_the_very_same_architecture(space):
    for arch in drawn(space, SAMPLES):
        again = Architecture.from_json(arch.to_json())
        assert (again, again.digest, hash(again)) == (arch, arch.digest, hash(arch))
        assert json.loads(arch.to_json()).keys() == arch.keys()
        space.check(again)


def test_digests_are_equal_in_another_process_with_another_hash_seed():
    command = [sys.executable, "-W", "error", str(HERE / "space_cases.py")]
    environment = {**os.environ, "PYTHONHASHSEED": "4242"}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert json.loads(printed) == digests({name: small(name) for name in CASES})


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_child_computes_what_the_space_computes(case, space, training):
    space.train(training)
    for arch in [*(covering(space) if training else ()), *drawn(space, 2)]:
        child, x = space.derive(arch), images(case).requires_grad_()
        of_space, of_child = run(space, x, arch), run(child, x)
        assert torch.equal(of_space, of_child), arch
        assert torch.isfinite(of_child).all()
        assert equal_states(space.derive(arch), child)  # the used candidates' BatchNorms have seen the same
        gradients = (
            torch.autograd.grad(output.square().sum(), x, allow_unused=True, materialize_grads=True)[0]
            for output in (of_space, of_child)
        )
        assert torch.equal(*gradients), arch


def test_training_a_path_leaves_all_other_candidates_alone(case, space):
    arch = drawn(space, 1)[0]
    used = {id(module) for module in _used(space, arch)}
    before = copy.deepcopy(space.state_dict())
    run(space, images(case), arch).sum().backward()
    for name, module in space.named_modules():
        own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
        for key, tensor in own if id(module) not in used else []:
            assert tensor.grad is None, f"{name}.{key}"
            assert torch.equal(tensor, before[f"{name}.{key}"]), f"{name}.{key}"


def _used(space: Space, arch: Architecture) -> list[nn.Module]:
    found = []

    def visit(module: nn.Module) -> None:
        found.append(module)
        decided = hasattr(module, "decision")
        for child in module.kept(arch[module.decision.name]) if decided else module.children():
            visit(child)

    visit(space.model)
    return found


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_a_one_hot_mixture_equals_the_single_path(case, space, training):
    space = copy.deepcopy(space).double().train(training)  # a mixture may be summed in another order
    noisy = {"noise", 5}  # draw from the global stream; in a mixture others draw before them
    arch = space.decide(lambda d: next(v for v in reversed(d.values) if v not in noisy))
    for module in space.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    x = images(case).double()
    if not all(hole.mixes for hole in space.holes):
        with pytest.raises(LookupError, match="no mixture"):
            space(x, one_hot(space, arch))
        return
    alone, mixed = run(space, x, arch), run(space, x, one_hot(space, arch))
    torch.testing.assert_close(mixed, alone, rtol=1e-9, atol=1e-10)


def test_only_what_is_reached_is_asked_and_that_once(case, space):
    sizes = set()
    for arch in drawn(space, SAMPLES):
        asked = []

        def answer(d, arch=arch, asked=asked):
            asked.append(d.name)
            return arch[d.name]

        assert space.decide(answer) == arch
        assert sorted(asked) == list(arch)
        sizes.add(len(asked))
    if CASES[case].reached is not None:
        assert sizes == {CASES[case].reached}
    else:
        assert len(sizes) > 1  # a conditional space that is always asked alike would be none


def test_every_drawn_architecture_is_accepted_and_derives(case, space):
    archs = drawn(space, SAMPLES)
    assert len(set(archs)) > SAMPLES / 2
    for arch in archs:
        space.check(arch)
    with torch.no_grad():
        assert run(space.derive(archs[0]).eval(), images(case)).shape == (3, *CASES[case].answers)


def test_architectures_are_counted(case, space):
    assert space.count() == CASES[case].count
    if space.count() <= 1000:
        found = list(space.every())
        assert len(found) == len(set(found)) == space.count()
    else:
        first = [arch for arch, _ in zip(space.every(), range(40), strict=False)]
        assert len(set(first)) == 40


def _refused(space: Space, choices: dict, message: str) -> None:
    arch = Architecture.from_json(json.dumps(choices))
    for verb in (space.check, space.derive):
        with pytest.raises(ValueError, match=message):
            verb(arch)


def test_an_architecture_of_elsewhere_is_refused_by_the_decision(space):
    arch = dict(drawn(space, 1)[0])
    single = [n for n in arch if not space.decisions[n].several]
    name = single[0] if single else next(iter(arch))
    quoted = f"decision {name!r}"
    _refused(space, {key: arch[key] for key in arch if key != name}, f"leaves {quoted} open")
    _refused(space, {**arch, "another/space": "x"}, "no decision 'another/space' here")
    _refused(space, {**arch, name: "an older option"}, f"{quoted} takes one of .* not 'an older option'")
    if single:
        _refused(space, {**arch, name: [arch[name]]}, f"{quoted} takes one of")
    _refused(space, {}, "leaves decision .* open")
    for unreached in sorted(set(space.decisions) - set(arch))[:1]:
        _refused(space, {**arch, unreached: space.decisions[unreached].values[0]}, f"{unreached!r}, which its other")


def test_a_subset_is_refused_in_another_order_or_size(space):
    arch = dict(drawn(space, 1)[0])
    for name in [n for n in arch if space.decisions[n].several][:1]:
        options = space.decisions[name].options
        wrongs = (options[:2][::-1], options, (options[0],) * 2, (), options[0], options[:1])
        for wrong in [each for each in wrongs if each not in space.decisions[name].values]:
            _refused(space, {**arch, name: wrong}, f"decision {name!r} takes one of")


def test_what_is_for_mixtures_only_is_no_answer(space):
    for d in [d for d in space.decisions.values() if d.mixture_only][:3]:
        arch = dict(next(a for a in drawn(space, 200) if d.name in a))
        _refused(space, {**arch, d.name: d.mixture_only[0]}, f"decision {d.name!r} takes one of")


@once_a_builder
def test_what_one_size_found_derives_at_another(case, space):
    large = CASES[case].large()
    assert (large.digest, large.count()) == (space.digest, space.count())
    arch = drawn(space, 1)[0]
    child = large.derive(arch).eval()
    assert params(child) > params(space.derive(arch))
    with torch.no_grad():
        assert run(child, images(case)).shape == (3, *CASES[case].answers)


def test_a_child_inherits_weights_and_shares_none(case, space):
    space.eval()
    arch = drawn(space, 1)[0]
    before = run(space, images(case), arch)
    child = space.derive(arch)
    memory = {tensor.data_ptr() for tensor in [*space.parameters(), *space.buffers()]}
    assert not any(t.data_ptr() in memory for t in [*child.parameters(), *child.buffers()] if t.numel())
    with torch.no_grad():
        for parameter in child.parameters():
            parameter.zero_()
    assert torch.equal(run(space, images(case), arch), before)


def test_a_child_is_ordinary_and_smaller(space):
    for arch in drawn(space, 3):
        child = space.derive(arch)
        assert not any(hasattr(module, "decision") or hasattr(module, "board") for module in child.modules())
        assert params(child) < params(space)


@pytest.mark.parametrize(
    "case",
    [
        *("nas_bench_101", "nas_bench_201", "ofa", "fpn", "interactions", "user"),
        *("elastic", "multi-branch", "ensemble", "narrowed"),
    ],
)
def test_what_children_cost_is_known_without_building_them(case, space):
    known = sizes_of(space, CASES[case].shape)
    for arch in drawn(space, 3):
        child = space.derive(arch)
        told = known(arch)
        assert (told["params"], told["macs"]) == (params(child), macs(child, CASES[case].shape)), arch


@once_a_builder
def test_a_copy_of_a_space_is_a_space_of_its_own(case, space):
    copied, arch = copy.deepcopy(space).eval(), drawn(space, 1)[0]
    before = run(copied, images(case), arch)
    assert {id(m) for m in copied.modules()}.isdisjoint(id(m) for m in space.modules())
    assert all(hole.board is copied.board for hole in copied.holes)
    assert torch.equal(run(copied.derive(arch), images(case)), before)


@once_a_builder
def test_the_state_dict_carries_everything(case, space):
    with seeded(7):
        other = CASES[case].small()
    arch = drawn(space, 1)[0]
    expected = run(space.eval(), images(case), arch)
    assert not torch.equal(run(other.eval(), images(case), arch), expected)
    other.load_state_dict(space.state_dict())
    assert torch.equal(run(other, images(case), arch), expected)


@once_a_builder
def test_on_the_meta_device_it_costs_nothing_and_becomes_real_from_a_seed(case, space):
    with torch.device("meta"):
        ghost = CASES[case].small()
    arch = drawn(space, 1)[0]
    child = ghost.derive(arch)
    assert all(tensor.is_meta for tensor in [*child.parameters(), *child.buffers()])
    assert (ghost.digest, params(child)) == (space.digest, params(space.derive(arch)))
    assert macs(child, CASES[case].shape) > 0
    assert torch.isfinite(run(materialise(child, "cpu", 3).eval(), images(case))).all()


class Squares(nn.Module):
    def forward(self, output: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return output.square().mean()


def test_cells_that_are_computed_twice_compute_the_same(case, space):
    """Losses, gradients, running statistics and the stream of random numbers after two steps, and less is kept."""
    parts = cells(space)
    assert len(set(parts)) == len(parts) > 1
    arch, batch = drawn(space, 1)[0], (images(case), torch.zeros(3))
    settings = [arch, one_hot(space, arch)] if all(hole.mixes for hole in space.holes) else [arch]
    found = []
    for recompute in (False, True):
        twin, kept = copy.deepcopy(space), []
        loss = objective(twin, Squares(), recompute=recompute)
        with seeded(0):
            with torch.autograd.graph.saved_tensors_hooks(lambda t, kept=kept: kept.append(t) or t, lambda t: t):
                losses = [loss(batch, setting) for setting in settings]
            for each in losses:
                each.backward()
            after = torch.rand(1)
        assert not any("forward" in vars(module) for module in twin.modules())
        grads = [p.grad for p in twin.parameters()]
        found.append((losses, grads, list(twin.state_dict().values()), after, len({id(t) for t in kept})))
    plain, again = found
    assert all(torch.equal(a, b) for a, b in zip(plain[0], again[0], strict=True))
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(plain[1], again[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(plain[2], again[2], strict=True))
    assert torch.equal(plain[3], again[3])
    assert again[4] < plain[4]
