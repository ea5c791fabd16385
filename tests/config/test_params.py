"""params.yaml at the door: every mistake is a sentence that names the key, what it takes and what came."""

import re
from pathlib import Path

import pytest
import yaml

from winnow.config.methods import selection, strategy
from winnow.config.params import Params
from winnow.config.reading import check_params, read_params
from winnow.core.errors import Refused
from winnow.search.methods import STRATEGIES
from winnow.search.selections import SELECTIONS
from winnow.train.recipes import RECIPES

FILE = Path(__file__).parents[2] / "params.yaml"


FINALISTS = {"count": 12, "epochs": 15, "population": 60, "generations": 1}

# what the shipped file chooses for the first run, in minutes on two cores; all else in it is the default
FIRST_RUN = {
    "runtime": {"threads": 1, "workers": 2},
    "data": {"source": "omniglot"},
    "space": {"nas_bench_201": {"channels": 8, "cells": 1}},
    "search": {"strategy": "spos", "epochs": 100, "batch": 32, "lr": 0.1},
    "select": {"methods": ["finalists"], "finalists": FINALISTS},
    "tune": {"epochs": None},
    "retrain": {"epochs": 15, "batch": 32},
    "evaluate": {"searches": 5},
}


def mixture() -> dict:
    """The shipped file with DARTS and DARTS-PT in the place of what it searches and selects with."""
    content = yaml.safe_load(FILE.read_text())
    content["search"] |= {"strategy": "darts", "epochs": 30}
    content["select"]["methods"] = ["perturbation", "magnitude"]
    content["retrain"] |= {"epochs": None, "batch": None}
    content["tune"]["epochs"] = 4
    return content


def changed(key: str, value: object) -> dict:
    content = mixture()
    *sections, last = key.split(".")
    place = content
    for section in sections:
        place = place.setdefault(section, {})
    place[last] = value
    return content


def test_the_shipped_file_drifts_from_no_default_but_where_it_sizes_the_first_run():
    """So that what is left out of a file is what its readers have seen here; and it is short enough to be read."""
    given, default = read_params(FILE).model_dump(), check_params(FIRST_RUN).model_dump()
    assert {**given, "study": None} == {**default, "study": None}
    assert given["study"]["methods"].keys() == default["study"]["methods"].keys()
    assert len(FILE.read_text().splitlines()) < 85


def test_the_page_of_parameters_holds_every_key_and_its_default():
    page = (FILE.parent / "docs/params.md").read_text()
    every = yaml.safe_load(page.partition("```yaml\n")[2].partition("```")[0])
    told = Params().model_dump()
    assert keys_of(every) == keys_of(told)
    assert check_params(every, methods=False).model_dump() == told


def keys_of(tree: dict, prefix: str = "") -> set[str]:
    inner = (keys_of(value, f"{prefix}{name}.") for name, value in tree.items() if isinstance(value, dict))
    return {prefix + name for name in tree}.union(*inner)


def test_a_file_of_before_is_read_as_it_was():
    """Sections of strategies, selections and spaces may stand beside what runs; they are checked and change nothing."""
    content = mixture()
    content["search"] |= {"gdas": {"temperature": 5.0}, "subset": {"weights": "frozen", "pretrained": None}}
    content["select"]["evolution"] = {"population": 8, "calibration_images": 512}
    content["space"]["darts"] = {"channels": 8, "layers": 5, "candidates": "s2", "none": True}
    params = check_params(content)
    assert (params.search.chosen(), params.space.chosen()) == ({"order": "first"}, {"channels": 8, "cells": 1})
    assert params.search.section("gdas") == {"temperature": 5.0}


@pytest.mark.parametrize("section", ["search", "select"])
def test_options_may_be_given_beside_the_name(section):
    """`options` of what runs are those of its section, checked alike; the defaults are complete afterwards."""
    content = changed("search.options", {"order": "second"})
    content["select"]["options"] = {"perturbation": {"tune_epochs": 7}}
    params = check_params(content)
    assert params.search.chosen() == {"order": "second"}
    assert params.select.chosen("perturbation")["tune_epochs"] == 7
    wrong = {"search": {"ordr": 1}, "select": {"evolution": {}}}[section]
    content[section]["options"] = wrong
    with pytest.raises(Refused, match=f"{section}.options.{next(iter(wrong))}"):
        check_params(content)


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("serch", {}, "unknown key serch (did you mean 'search'?)"),
        ("search.epoch", 3, "unknown key search.epoch (did you mean 'epochs'?)"),
        ("select.evolution.popluation", 3, "unknown key select.evolution.popluation (did you mean 'population'?)"),
        ("search.epochs", "3", "search.epochs: input should be a valid integer, not '3'"),
        ("search.epochs", 2.5, "search.epochs: input should be a valid integer, not 2.5"),
        ("search.epochs", True, "search.epochs: input should be a valid integer, not True"),
        ("search.epochs", 0, "search.epochs: input should be greater than or equal to 1, not 0"),
        ("search.lr", float("nan"), "search.lr: input should be a finite number, not nan"),
        ("search.lr", "1e-3", "search.lr: input should be a valid number, not '1e-3'; YAML reads 1e-3 as text, 1.0e-3"),
        ("search.lr", -1, "search.lr: input should be greater than 0, not -1"),
        ("search.strategy", "drats", "not 'drats' (did you mean 'darts'?)"),
        ("search.optimiser", "adma", "search.optimiser: input should be 'sgd', 'adam' or 'adamw', not 'adma' (did you"),
        ("search.schedule", "steps", "search.schedule: input should be 'cosine' or 'linear', not 'steps'"),
        ("search.collapse", "rolback", "not 'rolback' (did you mean 'rollback'?)"),
        ("select.methods", ["evolutoin"], "not 'evolutoin' (did you mean 'evolution'?)"),
        ("select.methods", [], "select.methods: list should have at least 1 item"),
        ("select.methods", ["magnitude", "magnitude"], "select: methods takes each method once"),
        ("select.splits", ["weights"], "trained on split weights"),
        ("select.splits", ["test"], "select.splits.0"),
        ("search.strategy", "spos", "'perturbation' masks candidates of a trained mixture, which strategy 'spos'"),
        ("data.fractions.weights", 0.9, "data.fractions: weights, arch and select add up to 1, not 1.4"),
        ("space.name", "dart", "not 'dart' (did you mean 'darts'?)"),
        ("space.darts.layers", 2, "space.darts.layers: input should be greater than or equal to 3, not 2"),
        ("runtime.device", "gpu", "runtime.device: string should match pattern"),
        ("retrain.seeds", [1, 1], "retrain: seeds takes each seed once"),
        ("retrain.auxiliary", 0.4, "only darts or factorised has a second classifier"),
        ("retrain.schedule", "linaer", "did you mean 'linear'?"),
        ("retrain.schedule", "steps", "retrain.decay: schedule steps multiplies the rate by it after every epoch"),
        ("retrain.decay", 0.9, "retrain.decay: only schedule steps reads it, not cosine"),
        ("retrain.decay", 1.0, "retrain.decay"),
        ("retrain.preset", "nasbench", "retrain.preset: input should be"),
        ("tune.trials", -1, "tune.trials: input should be greater than or equal to 0, not -1"),
        ("tune.ranges", {}, "tune.ranges is empty: name a field of retrain with its range, or set tune.trials to 0"),
        ("tune.ranges", {"lr": {"low": 1.0, "high": 0.1}}, "tune.ranges.lr: is upside down: low 1.0 is above high 0.1"),
        ("tune.ranges", {"lr": {"low": -1.0, "high": 0.1}}, "tune.ranges.lr: input should be greater than 0, not -1.0"),
        ("tune.ranges", {"lr": {"low": 0, "high": 0.1, "log": True}}, "log takes a low above 0 and no step, not low 0"),
        ("tune.ranges", {"lr": {"low": 0.1}}, "tune.ranges.lr: takes low and high, or choices"),
        ("tune.ranges", {"lr": {"choices": [0.1], "low": 0.1}}, "choices stands alone"),
        ("tune.ranges", {"lrr": {"choices": [0.1]}}, "tune.ranges.lrr: no field of a recipe (did you mean 'lr'?)"),
        ("tune.ranges", {"optimiser": {"choices": ["sdg"]}}, "tune.ranges.optimiser: input should be 'sgd', 'adam'"),
        ("tune.ranges", {"epochs": {"low": 2, "high": 4}}, "tune.epochs sets the epochs of every trial"),
        ("tune.ranges", {"auxiliary": {"low": 0, "high": 1}}, "whether there is a second classifier is not tried"),
        ("tune.sampler", "tep", "tune.sampler: input should be 'random', 'tpe'"),
        ("tune.look_back", 1, "tune.look_back: 2 workers (trials.workers) need as many or more, not 1"),
        ("trials.executor", "threads", "trials.executor: input should be 'inline', 'processes' or 'ray'"),
        ("search.darts.order", "third", "search.darts.order: input should be 'first' or 'second', not 'third'"),
        (
            "search.trials.constraints",
            {"macs": {"max": 9}},
            "hold with strategy trials, not with 'darts': set select.max_",
        ),
        ("search", None, "search: input should be a valid dictionary"),
        ("tracking.experiment", "", "tracking.experiment"),
        ("tracking.experiment", " ", "tracking.experiment: a name is one line without blanks around it: not ' '"),
        ("tracking.experiment", "x" * 300, "tracking.experiment"),
        ("tracking.registered_model", "win\nnow", "a name is one line without blanks around it: not 'win"),
        ("tracking.registered_model", "team/winnow", "takes no / or : in the name of a model"),
        ("tracking.registered_model", "winnow:2", "takes no / or : in the name of a model"),
        ("tracking.uri", "http://u:hun/ter2@h", "tracking.uri: it is http://…, which is no address as it stands"),
        ("trials.storage", "postgresql://u:hun#ter2@h/db", "trials.storage: it is postgresql://…, which is no address"),
    ],
)
def test_a_mistake_is_one_sentence(key, value, sentence):
    with pytest.raises(Refused) as refusal:
        check_params(changed(key, value))
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("key", ["select.max_params", "select.max_macs"])
@pytest.mark.parametrize(
    "value", ["50 %", "0%", "101%", "abc", "50", "-5%", "٥٠%", "nan%", 0, -1, 0.5, 1e6, True, [1], ""]
)
def test_a_limit_is_a_number_or_a_share(key, value):
    content = changed(key, value)
    content["select"]["methods"] = ["evolution"]
    with pytest.raises(Refused) as refusal:
        check_params(content)
    assert f"{key}: takes a whole number of 1 or more, or a share of the whole network" in str(refusal.value)
    assert str(refusal.value).endswith(f", not {value!r}")


@pytest.mark.parametrize("value", ["50%", "12.5%", "100%", 1, 10**12, None])
def test_limits_that_are_taken(value):
    content = changed("select.max_macs", value)
    content["select"]["methods"] = ["evolution"]
    assert check_params(content).select.max_macs == value


@pytest.mark.parametrize("key", ["max_params", "max_macs"])
@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("searched", STRATEGIES)
def test_a_limit_is_accepted_exactly_where_the_selection_keeps_it(searched, method, key):
    content = changed("search.strategy", searched)
    content["select"] |= {"methods": [method], key: "50%"}
    if selection(method).serves(strategy(searched).leaves) and selection(method).keeps_limits:
        assert check_params(content)
    else:
        with pytest.raises(Refused):
            check_params(content)


@pytest.mark.parametrize("value", ["24x32", [24], [24, 32, 3], [24, 0], [24, 1.5], 0, 24.0, True, {"h": 3}, []])
def test_a_size_is_a_side_or_height_and_width(value):
    with pytest.raises(Refused, match=r"data.image_size: takes a number of pixels, like 32, or \[height, width\]"):
        check_params(changed("data.image_size", value))
    assert check_params(changed("data.image_size", [24, 32])).data.image_size == [24, 32]


def test_several_mistakes_are_told_at_once():
    content = changed("search.epochs", 0)
    content["retrain"]["epochs"] = -1
    with pytest.raises(Refused) as refusal:
        check_params(content)
    assert len(str(refusal.value).splitlines()) == 2


@pytest.mark.parametrize("method", SELECTIONS)
@pytest.mark.parametrize("searched", STRATEGIES)
def test_a_pair_is_accepted_exactly_where_it_means_something(searched, method):
    content = changed("search.strategy", searched)
    content["select"]["methods"] = [method]
    if selection(method).serves(strategy(searched).leaves):
        assert check_params(content).select.methods == [method]
    else:
        with pytest.raises(Refused, match=r"select with .*, or search with"):
            check_params(content)


@pytest.mark.parametrize("preset", RECIPES)
def test_a_preset_gives_the_recipe_and_given_fields_win(preset):
    content = changed("retrain.preset", preset)
    content["space"]["name"] = "darts"
    assert check_params(content).retrain.recipe() == RECIPES[preset]
    content["retrain"]["epochs"], content["retrain"]["ema"] = 7, 0.5
    recipe = check_params(content).retrain.recipe()
    assert (recipe.epochs, recipe.ema, recipe.lr) == (7, 0.5, RECIPES[preset].lr)


@pytest.mark.parametrize(
    "text", ["", "- 1\n- 2\n", "a: [1\n", "3", "\x00", "a: !!python/object:os.system {}", "\tseed: 1"]
)
def test_a_file_that_is_no_params_is_refused(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(Refused):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"objectives": {"accuracy": "max"}}, "search.trials.objectives.accuracy: input should be 'maximize'"),
        ({"objectives": {}}, "search.trials.objectives: "),
        ({"constraints": {"params": {}}}, "constraint 'params' takes max, min or both"),
        ({"constraints": {"params": {"max": 1, "min": 2}}}, "constraint 'params' is upside down"),
        ({"evaluator": "predictor"}, "search.trials.predictor.table: evaluator predictor is fitted to a trials table"),
        (
            {"evaluator": "predictor", "predictor": {"name": "tgnas", "table": "t.parquet"}},
            "search.trials.predictor.name: no predictor 'tgnas'; did you mean 'tg_nas'",
        ),
        ({"evaluator": "table"}, "search.trials.table.path: evaluator table takes the path of a trials table"),
        ({"evaluator": "proxy", "ranges": {"lr": {"choices": [0.1]}}}, "hyper-parameters need evaluator training"),
        ({"ranges": {"epochs": {"choices": [1, 2]}}}, "search.trials.training.epochs sets those of every trial"),
        ({"sampler": "network_morphism", "evaluator": "proxy"}, "hands weights on; take evaluator training"),
        ({"look_back": 1}, "search.trials.look_back: 2 workers"),
        (
            {"evaluator": "oracle"},
            "evaluator: input should be 'training', 'federated', 'inherited', 'proxy', 'table' or",
        ),
    ],
)
def test_a_study_that_cannot_be_is_one_sentence(changes, sentence):
    content = yaml.safe_load(FILE.read_text())
    content["search"] |= {"strategy": "trials", "trials": {**content["search"].get("trials", {}), **changes}}
    content["select"]["methods"] = ["best"]
    with pytest.raises(Refused) as refusal:
        check_params(content)
    assert sentence in str(refusal.value)


@pytest.mark.parametrize("text", ["seed: 1\nsearch: {}\nseed: 2\n", "search:\n  lr: 0.1\n\n  lr: 0.2\n"])
def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(Refused, match=r"key '(seed|lr)' is there twice, again in line (3|4)"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("seed", 2**63, "seed takes whole numbers below 2"),
        ("retrain.seeds", [0, 10**30], "seeds takes whole numbers below 2"),
        ("search.epochs", 10**30, "search: epochs takes whole numbers below 2"),
        ("runtime.threads", 10**10, "runtime.threads: input should be less than or equal to 4096"),
        ("data.image_size", [8, 10**6], "data.image_size: takes sides of at most 8192 pixels"),
    ],
)
def test_what_no_machine_can_hold_is_refused(key, value, sentence):
    with pytest.raises(Refused, match=re.escape(sentence)):
        check_params(changed(key, value))


def test_a_missing_file_says_where_to_run(tmp_path):
    with pytest.raises(Refused, match=r"no params.yaml in .*: run winnow in the folder that holds it"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("search", "sentence"),
    [
        ({"darts": {"order": "second"}, "precision": "bf16"}, "second takes differences that bf16 rounds away"),
        ({"darts": {"order": "second"}, "optimiser": "adam"}, "second looks a step of SGD ahead, and search.optimiser"),
        ({"nesterov": True, "optimiser": "adam"}, "search: nesterov: this is a form of the momentum of sgd"),
        ({"nesterov": True, "momentum": 0.0}, "search: nesterov: this is a form of the momentum of sgd"),
        ({"strategy": "blank", "collapse": "rollback"}, "search.collapse: rollback watches the logits of a mixture"),
    ],
)
def test_what_does_not_go_together_is_refused(search, sentence):
    content = changed("select.methods", ["perturbation"])
    content["search"] |= search
    with pytest.raises(Refused, match=sentence):
        check_params(content)


def test_what_trains_no_supernet_computes_nothing_twice():
    content = changed("select.methods", ["best"])
    content["search"] |= {"strategy": "trials", "recompute": True}
    with pytest.raises(Refused, match=r"search\.recompute: strategy 'trials' trains no supernet, whose"):
        check_params(content)


@pytest.mark.parametrize("held", ["linear", 3, None, ["a"]])
def test_a_section_of_options_that_is_none_is_one_sentence(held):
    with pytest.raises(Refused, match=r"search\.darts: "):
        check_params({"search": {"strategy": "darts", "darts": held}})


def test_a_bare_off_and_null_are_taken():
    search = check_params(yaml.safe_load("search: {collapse: off, clip: null}")).search
    assert (search.collapse, search.clip) == ("off", None)


def test_a_task_is_a_name_or_a_dotted_path():
    with pytest.raises(Refused, match=r"task: no task 'audio_clasification' \(did you mean 'audio_classification'\?\)"):
        check_params({"task": "audio_clasification"})
    assert check_params({"task": "my_package.tasks:CLICKS"}).task == "my_package.tasks:CLICKS"
    assert check_params({}).task == "image_classification"
