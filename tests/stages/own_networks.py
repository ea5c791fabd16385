"""Networks as users build them: each function is a space `tests.stages.own_networks:name`. Images are 1 x 8 x 8."""

import threading

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from winnow.core.holes import Choice
from winnow.core.replace import replace
from winnow.core.space import Space

W = 8


def choice(name, **more):
    return Choice(name, {f"conv_{k}": nn.Conv2d(W, W, k, padding=k // 2) for k in (1, 3)}, **more)


class Net(nn.Module):
    """A stem, two choices with a BatchNorm between, `extra`, and a head."""

    def __init__(self, classes, channels, extra=None, second=None, head=None):
        super().__init__()
        self.stem = nn.Conv2d(channels, W, 3, padding=1)
        self.a, self.bn, self.b = choice("l/0"), nn.BatchNorm2d(W), second or choice("l/1")
        self.extra = extra or nn.Identity()
        self.head = head or nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W, classes))

    def features(self, x):
        return self.extra(self.b(F.relu(self.bn(self.a(self.stem(x))))))

    def forward(self, x):
        return self.head(self.features(x))


class Does(nn.Module):
    """A module out of a function of itself and its input; keywords become attributes, tensors buffers."""

    def __init__(self, function, buffers=(), **attributes):
        super().__init__()
        self.function = function
        for name, value in attributes.items():
            if name in buffers:
                self.register_buffer(name, value, persistent=buffers[name])
            else:
                setattr(self, name, value)

    def forward(self, *inputs, **named):
        return self.function(self, *inputs, **named)


def made(extra=None, kind=Net, second=None, head=None):
    """A builder of a space around a fresh `extra()`."""

    def build(classes, image_channels):
        parts = [part() if part else None for part in (extra, second)]
        return Space(kind(classes, image_channels, *parts, head(classes) if head else None))

    return build


def forwarding(function):
    """`Net` with another forward, function(self, x)."""
    return type("Net", (Net,), {"forward": function})


# what works


def pretrained(classes, image_channels):
    net = Net(classes, image_channels)
    net.stem.load_state_dict({k: torch.full_like(v, 0.123) for k, v in net.stem.state_dict().items()})
    net.stem.requires_grad_(False)
    nn.init.constant_(net.head[2].bias, 5.0)
    return Space(net)


ramp = torch.linspace(0, 1, W).view(1, W, 1, 1)
plain = made()
buffer = made(lambda: Does(lambda m, x: x * m.pos, {"pos": False}, pos=ramp.clone()))
kept_buffer = made(lambda: Does(lambda m, x: x * m.pos, {"pos": True}, pos=ramp.clone()))
random_buffer = made(lambda: Does(lambda m, x: x * m.pos, {"pos": False}, pos=torch.rand(1, W, 1, 1)))
no_buffer = made(lambda: Does(lambda m, x: x if m.pos is None else x * m.pos, {"pos": True}, pos=None))
constant = made(lambda: Does(lambda m, x: x * m.pos, pos=ramp.clone()))
scale = made(lambda: Does(lambda m, x: x * m.scale, scale=nn.Parameter(torch.full((1, W, 1, 1), 0.5))))
rates = made(lambda: Does(lambda m, x: x * m.rates[1], rates=[v.item() for v in torch.linspace(0.1, 1, 3)]))
branching = made(lambda: Does(lambda m, x: x * 2 if x.mean() > 0 else x))
listed = made(
    lambda: Does(lambda m, x: x * sum(m.some), some=nn.ParameterList([nn.Parameter(torch.ones(1)) for _ in range(2)]))
)


def over_pixels(module, x):
    return module.layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape_as(x)


attention = made(lambda: Does(over_pixels, layer=nn.TransformerEncoderLayer(W, 2, 16, batch_first=True)))


def shared(classes, image_channels):
    twice = nn.Conv2d(W, W, 3, padding=1)
    tied = nn.Conv2d(W, W, 3, padding=1)
    tied.weight = twice.weight
    return Space(Net(classes, image_channels, nn.Sequential(twice, nn.ReLU(), twice, tied)))


def views(module, x):
    return x * module.left.view(1, -1, 1, 1) + module.right.view(1, -1, 1, 1) + module.spread[0].view(1, -1, 1, 1)


def viewed():
    both = torch.linspace(0, 1, 2 * W)
    kept = {"left": True, "right": True, "spread": True, "none": True, "flags": True, "bf": True, "count": True}
    return Does(
        views, kept, left=both[:W], right=both[W:], spread=torch.ones(W).expand(2, W), none=torch.zeros(0, 3),
        flags=torch.tensor([True, False]), bf=torch.ones(3, dtype=torch.bfloat16), count=torch.tensor(3),
    )  # fmt: skip


buffers_of_all_kinds = made(viewed)
view = made(head=lambda n: Does(lambda m, x: m.last(x.view(x.size(0), -1)), last=nn.Linear(W * 64, n)))
conv3d = made(
    lambda: nn.Sequential(nn.Unflatten(1, (1, W)), nn.Conv3d(1, 2, (W, 1, 1)), nn.Flatten(1, 2), nn.Conv2d(2, W, 1))
)
lazy = made(head=lambda n: nn.Sequential(nn.Flatten(), nn.LazyLinear(n)))


def spectrum(module, x):
    return torch.fft.ifft2(torch.fft.fft2(x) * module.weight).real


complex64 = made(lambda: Does(spectrum, weight=nn.Parameter(torch.ones(1, W, 8, 8, dtype=torch.complex64))))
complex128 = made(
    lambda: Does(lambda m, x: x * m.at.real.float(), {"at": True}, at=torch.ones(1, W, 1, 1, dtype=torch.complex128))
)
recomputed = made(kind=forwarding(lambda self, x: self.head(checkpoint(self.features, x, use_reentrant=False))))
keywords = made(
    kind=forwarding(lambda self, x: self.head(self.b(self.stem(x), scale=0.5) + self.a(self.stem(x)))),
    second=lambda: Choice("l/1", {n: Does(lambda m, x, scale: x * scale) for n in ("half", "ratio_0.5", "keys")}),
)
old_weight_norm = made(lambda: nn.utils.weight_norm(nn.Conv2d(W, W, 1)))
spectral_norm = made(lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(W, W, 1)))
scripted = made(lambda: torch.jit.script(nn.Sequential(nn.Conv2d(W, W, 1), nn.ReLU())))
no_weights_in_candidates = made(second=lambda: Choice("l/1", {"a": nn.Dropout(0.1), "b": nn.Dropout(0.2)}))
identity = nn.Identity()
shared_identity = made(
    second=lambda: Choice("l/1", {"none": identity, "conv": nn.Conv2d(W, W, 1)}), extra=lambda: identity
)
norm_without_statistics = made(lambda: nn.BatchNorm2d(W, track_running_stats=False))
hooked = made(lambda: _hooked(nn.Conv2d(W, W, 1)))
lambda_kept = made(lambda: Does(lambda m, x: m.act(x), act=lambda x: F.relu(x)))
generator_kept = made(lambda: Does(lambda m, x: x, stream=torch.Generator()))


def _hooked(module):
    module.register_forward_hook(lambda module, inputs, output: output.mul_(2))
    return module


def meddling(classes, image_channels):
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(3)
    torch.set_grad_enabled(False)
    space = Space(Net(classes, image_channels)).float().requires_grad_()
    torch.set_default_device("meta")
    return space


# what does not


def dictionary(self, x):
    return {"logits": self.head(self.features(x))}


def pair(self, x):
    features = self.features(x)
    return self.head(features), features


def one_more(self, x):
    return F.pad(self.head(self.features(x)), (0, 5))


def unused(classes, image_channels):
    class Walks(nn.Module):
        def __init__(self):
            super().__init__()
            self.c1, self.c2 = nn.Conv2d(image_channels, W, 3), nn.Conv2d(W, W, 3)
            self.order = [self.c1, self.c2]
            self.head = nn.Linear(W, classes)

        def forward(self, x):
            for layer in self.order:
                x = layer(x)
            return self.head(x.mean((2, 3)))

    def rule(path, module):
        if isinstance(module, nn.Conv2d):
            small = nn.Conv2d(module.in_channels, module.out_channels, 1)
            return Choice(path, {"conv_1": small, "conv_3": module})

    return replace(Walks(), rule)


def by_size(classes, image_channels, final):
    net = Net(classes, image_channels, second=choice("other" if final else "l/1"))
    return Space(net)


def frozen(classes, image_channels):
    return Space(Net(classes, image_channels)).requires_grad_(False)


def on_meta(classes, image_channels):
    with torch.device("meta"):
        return Space(Net(classes, image_channels))


def no_space(classes, image_channels):
    return nn.Linear(2, 2)


class Stateful(nn.Module):
    """A running mean that no buffer holds."""

    def __init__(self):
        super().__init__()
        self.mean = torch.zeros(1)

    def forward(self, x):
        if self.training:
            self.mean = self.mean + x.detach().mean().abs() + 1
        return x + self.mean


class WithExtra(nn.Identity):
    def get_extra_state(self):
        return {"steps": 3}

    def set_extra_state(self, state):
        pass


returns_dict = made(kind=forwarding(dictionary))
returns_pair = made(kind=forwarding(pair))
returns_list = made(kind=forwarding(lambda self, x: [self.head(self.features(x))]))
too_many = made(kind=forwarding(one_more))
too_few = made(head=lambda n: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W, 3)))
not_flat = made(head=lambda n: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(W, n, 1)))
constant_output = made(kind=forwarding(lambda self, x: self.head(self.features(x)).detach()))
three_channels = lambda classes: Space(Net(classes, 3))  # noqa: E731
pooled_away = made(lambda: nn.Sequential(nn.MaxPool2d(4), nn.MaxPool2d(4)))
in_place = made(second=lambda: Choice("l/1", {"relu": nn.ReLU(inplace=True), "conv": nn.Conv2d(W, W, 1)}))
two_shapes = made(second=lambda: Choice("l/1", {"same": nn.Conv2d(W, W, 1), "half": nn.Conv2d(W, W, 1, stride=2)}))
tuples = made(second=lambda: Choice("l/1", {"pair": Does(lambda m, x: (x, x)), "conv": nn.Conv2d(W, W, 1)}))
nan = made(lambda: Does(lambda m, x: (x - 1e9).log()))
unpooled = made(
    lambda: Does(lambda m, x: m.up(*m.down(x)), down=nn.MaxPool2d(2, return_indices=True), up=nn.MaxUnpool2d(2))
)
doubles = made(lambda: nn.Conv2d(W, W, 1).double())
locked = made(lambda: Does(lambda m, x: x, lock=threading.Lock()))
stateful = made(Stateful)
extra_state = made(WithExtra)
own_bug = made(lambda: Does(lambda m, x: x * {}["absent"]))


strided = made(  # runs with channels last, and answers otherwise
    lambda: Does(lambda m, x: x.as_strided(x.shape, (x[0].numel(), x[0, 0].numel(), x.shape[3], 1)))
)
squeezed = made(head=lambda n: Does(lambda m, x: m.last(x.mean((2, 3)).squeeze()), last=nn.Linear(W, n)))
in_pairs = made(lambda: Does(lambda m, x: x.reshape(2, W, 8, 8)))
probabilities = made(
    head=lambda n: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(W, n), nn.Softmax(1))
)
stopped = made(lambda: Does(lambda m, x: x.detach()))


class Growing(nn.Module):
    """A buffer that has another shape after a step."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(0))

    def forward(self, x):
        if self.training:
            self.seen = torch.cat([self.seen, x.detach().mean()[None]])
        return x


growing = made(Growing)
many_words = made(lambda: Does(lambda m, x: torch.linalg.vector_norm(x.to_sparse())))


def compiled(classes, image_channels):
    return Space(torch.compile(Net(classes, image_channels)))


def builder_bug(classes, image_channels):
    return Space(Net(classes, image_channels, nn.ModuleList(y for y in None)))


def float_options(classes, image_channels):
    return Space(Net(classes, image_channels, second=Choice("l/1", {0.5: nn.Identity(), 1.0: nn.Identity()})))
