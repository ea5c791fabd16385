"""A user's network is taken as it was built, or refused in a sentence before anything is trained."""

import random

import pytest
import torch

from tests.stages.tiny import tiny
from winnow.cli import main as cli
from winnow.core.choosers import uniform
from winnow.core.errors import Refused
from winnow.data.loaders import Batches, open_split
from winnow.pipelines import prepare
from winnow.run import dry, files
from winnow.run.dry import try_search
from winnow.run.model import load_model
from winnow.run.work import about_model, facts, final_space, search_space, working
from winnow.tasks.classify import IMAGES
from winnow.tools.scoring import Given
from winnow.train.building import fresh, laid
from winnow.train.fit import fit
from winnow.train.watch import Watch

SINGLE = {"search__strategy": "spos", "select__methods": ["evolution"]}
CPU = torch.device("cpu")
WORK = [
    "pretrained", "plain", "buffer", "kept_buffer", "random_buffer", "no_buffer", "constant", "scale", "rates",
    "branching", "listed", "attention", "shared", "buffers_of_all_kinds", "view", "conv3d", "lazy", "complex64",
    "complex128", "recomputed", "keywords", "old_weight_norm", "spectral_norm", "no_weights_in_candidates",
    "shared_identity", "norm_without_statistics", "hooked", "lambda_kept", "generator_kept", "meddling",
    "strided",
]  # fmt: skip
SENTENCES = {
    "returns_dict": r"returns a dict of \(2, 10\); forward must return one tensor of logits, \(batch, 10\)",
    "returns_pair": r"returns a tuple of \(2, 10\), \(2, 8, 8, 8\); forward must return one tensor",
    "returns_list": r"returns a list of \(2, 10\)",
    "too_many": r"returns shape \(2, 15\) for inputs of \(2, 1, 8, 8\); .* for 10 classes",
    "too_few": r"returns shape \(2, 3\)",
    "not_flat": r"returns shape \(2, 10, 1, 1\)",
    "constant_output": "the output depends on no weight of the mixture",
    "three_channels": r"module 'stem' \(Conv2d\), given \(2, 1, 8, 8\): .*3 channels",
    "pooled_away": r"module 'extra.1' \(MaxPool2d\), given \(2, 8, 2, 2\): .*too small",
    "in_place": "option 'relu' of decision 'l/1' changes its input in place.*inplace=False",
    "two_shapes": r"decision 'l/1': option 'same' returns shape \(2, 8, 8, 8\), option 'half' \(2, 8, 4, 4\)",
    "tuples": "option 'pair' of decision 'l/1' returns a tuple",
    "nan": r"not finite, first in module 'extra' \(Does\)",
    "unused": "decision 'c1' is never asked",
    "doubles": r"module 'extra' \(Conv2d\), given .*(double|dtype|type)",
    "locked": r"module 'extra' \(Does\) keeps 'lock', a lock, which cannot be copied",
    "scripted": "'extra.0.weight' of the child would not be trained: copies of scripted modules are not",
    "stateful": "saved and loaded it answers otherwise",
    "extra_state": "'extra._extra_state' of the network's state is a dict, and files hold tensors",
    "own_bug": r"KeyError: 'absent'\n.*own_networks.py, line \d+: own_bug = made",
    "builder_bug": r"TypeError: 'NoneType' object is not iterable\n.*line \d+: return Space",
    "float_options": "decision 'l/1': an option is text or a whole number, not float 0.5",
    "by_size": "the builder must ask the same decisions when final is true",
    "frozen": "nothing to train",
    "on_meta": "is on the meta device",
    "squeezed": r"in evaluation mode: the network returns shape \(10,\) for inputs of \(1, 1, 8, 8\)",
    "in_pairs": r"in evaluation mode: module 'extra' \(Does\), given \(1, 8, 8, 8\)",
    "probabilities": "returns probabilities: leave the last softmax out; forward must",
    "stopped": "the output does not depend on decision 'l/0': .*gradient is stopped on the way",
    "growing": r"loaded: RuntimeError: Error\(s\) in loading state_dict for Net: size mismatch for extra.seen",
    "many_words": r"module 'extra' .*Could not run 'aten::linalg_vector_norm'.*…",
    "compiled": "the network is compiled, and children are parts of copies: leave torch.compile out",
    "no_space": "must return a winnow Space, not Linear",
}


def own(name: str, **changes):
    params = tiny(space__name=f"tests.stages.own_networks:{name}", **{"search__collapse": "off", **changes})
    return params


pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")


@pytest.fixture(autouse=True)
def strict():
    torch.set_deterministic_debug_mode("error")


def state_of_everything():
    return (
        torch.get_rng_state(), torch.tensor(random.getstate()[1]), torch.get_default_dtype(), torch.is_grad_enabled(),
        torch.get_default_device(),
    )  # fmt: skip


@pytest.mark.parametrize("name", WORK)
def test_a_network_that_works_is_tried_and_leaves_no_trace(name, prepared):
    before = state_of_everything()
    try_search(own(name), prepared, CPU)
    for old, new in zip(before, state_of_everything(), strict=True):
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new


@pytest.mark.parametrize("name", SENTENCES)
def test_what_cannot_work_is_one_sentence(name, prepared):
    with pytest.raises(Refused, match=SENTENCES[name]) as refusal:
        try_search(own(name), prepared, CPU)
    assert str(refusal.value).count("\n") <= 1


@pytest.mark.parametrize("name", WORK)
def test_what_was_built_is_trained_saved_and_loaded(name, prepared, tmp_path):
    """Through a file: the loaded network computes what the trained one does, whatever no file holds."""
    params = own(name)
    final, fact = final_space(params, prepared), facts(params, prepared)
    arch = final.decide(uniform(random.Random(1)))
    first, again = (laid(fresh(final, arch, CPU, 7)) for _ in range(2))
    for one, two in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    split = open_split(prepared / files.SPLITS, "weights", IMAGES, stage="retrain")
    batches = Batches(split, 16, generator=torch.Generator(), channels_last=True)
    recipe = params.retrain.recipe()
    model = fit(first, [next(iter(batches))], recipe, IMAGES, seed=0, watch=Watch())
    about = about_model(params, fact, arch, split, 0, initial=7)
    files.write_tensors(tmp_path / "m.safetensors", model.state_dict(), about)
    loaded, _ = load_model(tmp_path / "m.safetensors", params.space.name)
    with torch.no_grad():
        x = torch.randn(3, *split.columns["image"].shape[1:], generator=torch.Generator().manual_seed(0))
        assert torch.allclose(model(x), loaded(x), atol=1e-5)


@pytest.mark.parametrize("space", ["nas_bench_201", "darts", "mobile"])
def test_spaces_of_winnow_would_pass_the_trial_that_they_are_spared(space, prepared, monkeypatch):
    monkeypatch.setattr(dry, "SPACES", {})
    small = {
        "darts": {"space__darts__layers": 3, "space__darts__channels": 4},
        "mobile": {"space__mobile__width": 0.25},
    }
    dry.try_search(tiny(space__name=space, **small.get(space, {})), prepared, CPU)


def test_what_a_users_network_raises_later_shows_its_line(prepared):
    params = own("own_bug")
    found = pytest.raises(Refused, match=r"own_bug': KeyError: 'absent'\n.*own_networks.py, line")
    with found, working("search", params, prepared):
        search_space(params, prepared)(torch.zeros(2, 1, 8, 8), {"l/0": "conv_1", "l/1": "conv_1"})


def test_a_builder_that_wants_to_be_told_is_told_where_no_data_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = "tests.stages.own_networks:plain"
    assert cli.run(["space", "show", name]) == 0
    assert "4 architectures of 2 decisions" in capsys.readouterr().out
    assert cli.run(["space", "sample", name]) == 0
    space, _ = Given(name, shape=(1, 8, 8), batch=2).made()
    assert space.model.head[2].out_features == 10


def test_a_space_for_another_kind_of_data_is_a_sentence(folder):
    """Fields and numbers of clicks are no images."""
    said = r"space 'interactions' does not go with task 'image_classification': it takes no inputs of \(2, 1, 8, 8\)"
    with pytest.raises(Refused, match=said):
        try_search(tiny(space__name="interactions", **SINGLE), folder, CPU)


def test_a_space_of_other_answers_than_the_tasks_is_a_sentence(tmp_path):
    """A classifier finds no boxes."""
    boxes = {"task": "detection", "data__source": "tests.data.squares:boxed_squares", "data__limit_train": None}
    params = tiny(**boxes, **SINGLE)
    prepare.main(params, tmp_path)
    said = r"'nas_bench_201' does not go with task 'detection': it returns shape \(2, 2\) .* wants .*locations"
    with pytest.raises(Refused, match=said):
        try_search(params, tmp_path, CPU)
