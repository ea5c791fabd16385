"""search.gradients against autograd through everything, in double precision and on a smooth network."""

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from tests.judging import cross_entropy
from tests.search.toys import cells as published
from tests.search.toys import changed, first, images, logits_of, loss_of, points, smooth, snapshot
from winnow.core.space import Space
from winnow.search.gradients import exact, finite_difference, first_order, frozen, second_order, weights_of
from winnow.search.relax import Logits, softmax
from winnow.train.evaluate import batch_statistics
from winnow.train.optimisers import sgd

TRAIN, VALID = points(32, seed=1), points(32, seed=2)


def trained(space: Space, logits: Logits, groups=None, **options) -> torch.optim.SGD:
    """An optimiser that has made two steps, so that its momentum is not zero."""
    optimiser = sgd(groups or space.parameters(), **{"lr": 0.3, "momentum": 0.9, "weight_decay": 0.1, **options})
    for seed in (10, 11):
        optimiser.zero_grad()
        loss_of(space)(points(32, seed=seed), {k: v.detach() for k, v in softmax(logits).items()}).backward()
        optimiser.step()
    return optimiser


def unrolled(space: Space, logits: Logits, optimiser: torch.optim.SGD) -> dict[str, Tensor]:
    """d L_valid(w - lr (grad L_train(w) + momentum buffer + decay w)) / d logits, by autograd alone."""
    group_of = {id(w): group for group in optimiser.param_groups for w in group["params"]}
    weights = dict(space.named_parameters())
    buffers = {name: optimiser.state[w]["momentum_buffer"] for name, w in weights.items() if w in optimiser.state}

    def loss(at: dict[str, Tensor], batch) -> Tensor:
        return torch.nn.functional.cross_entropy(functional_call(space, at, (batch[0], softmax(logits))), batch[1])

    with batch_statistics(space):
        grads = torch.autograd.grad(loss(weights, TRAIN), list(weights.values()), create_graph=True)
        moved = {}
        for (name, w), grad in zip(weights.items(), grads, strict=True):
            group = group_of[id(w)]
            plain = grad + group["weight_decay"] * w
            move = plain + group["momentum"] * buffers.get(name, 0.0)
            move = plain + group["momentum"] * move if group["nesterov"] else move
            moved[name] = w - group["lr"] * move
        terms = torch.autograd.grad(loss(moved, VALID), list(logits.values()))
    return dict(zip(logits, terms, strict=True))


def distance(logits: Logits, expected: dict[str, Tensor]) -> float:
    got, wanted = (torch.cat([g[name] for name in logits]) for g in (grads(logits), expected))
    return float((got - wanted).norm() / wanted.norm())


def grads(logits: Logits) -> dict[str, Tensor]:
    return {name: vector.grad.clone() for name, vector in logits.items()}


def fill(gradient, space, logits, optimiser, **options) -> dict[str, Tensor]:
    for vector in logits.values():
        vector.grad = None
    gradient(space, logits, softmax, loss_of(space), TRAIN, VALID, optimiser, **options)
    return grads(logits)


def test_first_order_is_the_plain_gradient_of_the_validation_loss():
    space = smooth()
    logits = logits_of(space)
    fill(first_order, space, logits, trained(space, logits))
    with batch_statistics(space):
        loss = loss_of(space)(VALID, softmax(logits))
    expected = torch.autograd.grad(loss, list(logits.values()))
    assert distance(logits, dict(zip(logits, expected, strict=True))) < 1e-14


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_finite_differences_agree_with_differentiating_twice(dtype):
    space = smooth(dtype=dtype)
    logits, batch = logits_of(space), points(32, seed=1, dtype=dtype)
    generator = torch.Generator().manual_seed(3)
    vector = [torch.randn(w.shape, generator=generator, dtype=dtype) for w in weights_of(space)]
    with batch_statistics(space):
        arguments = (space, logits, softmax, loss_of(space), batch, vector)
        near, right = (torch.cat(mixed(*arguments)) for mixed in (finite_difference, exact))
    assert float((near - right).norm() / right.norm()) < 1e-3


@pytest.mark.parametrize("name", ["nas_bench_201", "darts"])
def test_the_cells_of_published_spaces_can_be_differentiated_twice(name):
    """Against a difference too small to meet a kink of ReLU; whatever a cell does to be quick."""
    space = published(name, **({"candidates": "s3"} if name == "darts" else {})).double()
    logits, (x, y) = logits_of(space), images(8, 1)
    weights, loss, step = weights_of(space), loss_of(space), 1e-6
    generator = torch.Generator().manual_seed(3)
    vector = [torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in weights]
    vector = [v / torch.nn.utils.get_total_norm(vector) for v in vector]

    def gradient(sign: float) -> Tensor:
        moved = {n: w + sign * step * v for (n, w), v in zip(space.named_parameters(), vector, strict=True)}
        scores = functional_call(space, moved, (x.double(), softmax(logits)))
        return torch.cat(torch.autograd.grad(torch.nn.functional.cross_entropy(scores, y), list(logits.values())))

    with batch_statistics(space):
        right = torch.cat(exact(space, logits, softmax, loss, (x.double(), y), vector))
        near = (gradient(1.0) - gradient(-1.0)) / (2 * step)
    assert float((near - right).norm() / right.norm()) < 1e-4


def test_finite_differences_along_nothing_are_zero():
    space = smooth()
    logits = logits_of(space)
    nothing = [torch.zeros_like(w) for w in weights_of(space)]
    terms = finite_difference(space, logits, softmax, loss_of(space), TRAIN, nothing)
    assert all(torch.equal(term, torch.zeros_like(term)) for term in terms)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nesterov": True},
        {"momentum": 0.0},
        {"weight_decay": 0.0},
        {"momentum": 0.0, "weight_decay": 0.0, "lr": 1.0},
    ],
    ids=["all", "nesterov", "no momentum", "no decay", "bare"],
)
def test_second_order_is_autograd_through_the_unrolled_step(options):
    space = smooth()
    logits = logits_of(space)
    optimiser = trained(space, logits, **options)
    expected = unrolled(space, logits, optimiser)
    fill(second_order, space, logits, optimiser, mixed=exact)
    assert distance(logits, expected) < 1e-12
    fill(second_order, space, logits, optimiser)
    assert distance(logits, expected) < 1e-3
    fill(first_order, space, logits, optimiser)
    assert distance(logits, expected) > 1e-2  # what the test could not tell apart otherwise


def test_second_order_gives_every_group_its_own_step():
    space = smooth()
    logits = logits_of(space)
    matrices, vectors = ([w for w in space.parameters() if (w.dim() > 1) is flag] for flag in (True, False))
    groups = [{"params": matrices, "lr": 0.5, "weight_decay": 0.2}, {"params": vectors, "lr": 0.01}]
    optimiser = trained(space, logits, groups)
    fill(second_order, space, logits, optimiser, mixed=exact)
    assert distance(logits, unrolled(space, logits, optimiser)) < 1e-12


def test_second_order_leaves_weights_that_are_not_trained_where_they_are():
    space = smooth()
    logits = logits_of(space)
    space.model[0].weight.requires_grad_(False)
    optimiser = trained(space, logits, [w for w in space.parameters() if w.requires_grad])
    before = snapshot(space)
    fill(second_order, space, logits, optimiser)
    assert not changed(space, before)
    assert not space.model[0].weight.requires_grad


@pytest.mark.parametrize("mixed", [finite_difference, exact])
def test_a_virtual_step_of_length_zero_is_first_order_to_the_bit(mixed):
    space = smooth()
    logits = logits_of(space)
    optimiser = trained(space, logits)
    optimiser.param_groups[0]["lr"] = 0.0
    expected = fill(first_order, space, logits, optimiser)
    found = fill(second_order, space, logits, optimiser, mixed=mixed)
    assert all(torch.equal(found[name], expected[name]) for name in logits)


@pytest.mark.parametrize("gradient", [first_order, second_order])
def test_weights_and_statistics_are_untouched(gradient):
    space, train, valid = published("darts", candidates="s3"), images(8, 1), images(8, 2)
    logits = logits_of(space)
    optimiser = sgd(space.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    before, modes = snapshot(space), [m.training for m in space.modules()]
    momentum = [optimiser.state[w]["momentum_buffer"].clone() for w in space.parameters()]
    loss = gradient(space, logits, softmax, cross_entropy(space), train, valid, optimiser)
    assert not loss.requires_grad
    assert not changed(space, before)
    assert all(w.requires_grad and w.grad is None for w in space.parameters())
    assert [m.training for m in space.modules()] == modes
    assert all(
        torch.equal(optimiser.state[w]["momentum_buffer"], b) for w, b in zip(space.parameters(), momentum, strict=True)
    )
    assert all(vector.grad is not None for vector in logits.values())


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
def test_weights_come_back_when_a_loss_fails(fails_at):
    space = smooth()
    logits = logits_of(space)
    optimiser, loss, calls = trained(space, logits), loss_of(space), iter(range(4))

    def failing(batch, setting):
        if next(calls) == fails_at:
            raise KeyboardInterrupt
        return loss(batch, setting)

    before = snapshot(space)
    with pytest.raises(KeyboardInterrupt):
        second_order(space, logits, softmax, failing, TRAIN, VALID, optimiser)
    assert not changed(space, before)
    assert all(w.requires_grad for w in space.parameters())
    assert all(m.track_running_stats for m in space.modules() if isinstance(m, torch.nn.BatchNorm1d))


def test_decided_logits_get_no_gradient_and_change_nothing():
    space = smooth()
    logits = logits_of(space)
    loss, optimiser = loss_of(space), trained(space, logits)

    def gradient():
        for vector in logits.values():
            vector.grad = None
        found = first_order(space, logits, lambda v: {**softmax(v), "a": "norm"}, loss, TRAIN, VALID, optimiser)
        return found, logits["a"].grad, logits["b"].grad

    before = gradient()
    assert before[1] is None
    with torch.no_grad():
        logits["a"] += torch.tensor([5.0, -5.0, 1.0])
    after = gradient()
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])


def test_nothing_open_is_no_error():
    space = smooth()
    logits = logits_of(space)
    decided = first(space)
    loss = first_order(space, logits, lambda v: decided, loss_of(space), TRAIN, VALID, trained(space, logits))
    assert loss.isfinite()
    assert all(vector.grad is None for vector in logits.values())


def test_frozen_is_for_the_block_alone_and_keeps_what_was_frozen():
    space = smooth()
    fixed = space.model[0].bias.requires_grad_(False)
    with frozen(space):
        assert not any(w.requires_grad for w in space.parameters())
    assert [w for w in space.parameters() if not w.requires_grad] == [fixed]


def test_random_modules_draw_the_same_on_both_sides_of_the_difference():
    space = smooth(dropout=0.5)
    logits = logits_of(space)
    optimiser = trained(space, logits, lr=0.5)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(5)
        right = fill(second_order, space, logits, optimiser, mixed=exact)
        torch.manual_seed(5)
        fill(second_order, space, logits, optimiser)
    assert distance(logits, right) < 1e-3  # with draws of its own each side would be off by 1 / eps


def test_bf16_backward_under_frozen_weights():
    space, batch = published(), images(16)
    logits = logits_of(space)
    optimiser, found = sgd(space.parameters(), 0.1), {}
    for precision in ("fp32", "bf16"):
        for vector in logits.values():
            vector.grad = None
        first_order(space, logits, softmax, cross_entropy(space, precision), batch, batch, optimiser)
        found[precision] = torch.cat([vector.grad for vector in logits.values()])
    assert found["bf16"].dtype == torch.float32
    assert not torch.equal(found["bf16"], found["fp32"])
    assert float(torch.cosine_similarity(found["bf16"], found["fp32"], dim=0)) > 0.9


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_first_order_step_never_waits_for_the_device(precision):
    space = published().to("cuda", memory_format=torch.channels_last)
    logits = logits_of(space).to("cuda")
    weights, adam = sgd(space.parameters(), 0.1, momentum=0.9), torch.optim.Adam(logits.parameters(), fused=True)
    batch = tuple(tensor.to("cuda") for tensor in images(8))
    loss = cross_entropy(space, precision)
    for mode in ("default", "error"):  # the first round may allocate and pick kernels
        torch.cuda.set_sync_debug_mode(mode)
        try:
            first_order(space, logits, softmax, loss, batch, batch, weights)
            adam.step()
            loss(batch, {name: vector.detach() for name, vector in softmax(logits).items()}).backward()
            torch.nn.utils.clip_grad_norm_(space.parameters(), 5.0)
            weights.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_both_orders_agree_with_the_cpu():
    for gradient in (first_order, second_order):
        found = {}
        for device in ("cpu", "cuda"):
            space = published().to(device)
            logits = logits_of(space).to(device)
            train, valid = (tuple(tensor.to(device) for tensor in images(8, seed)) for seed in (1, 2))
            optimiser = sgd(space.parameters(), 0.1, momentum=0.9, weight_decay=1e-3)
            gradient(space, logits, softmax, cross_entropy(space), train, valid, optimiser)
            found[device] = torch.cat([vector.grad.cpu() for vector in logits.values()])
        torch.testing.assert_close(found["cuda"], found["cpu"], rtol=2e-2, atol=1e-4)
