"""benchmarks/one_shot.py: what a row means and what the table says; the rows in docs/one-shot.md were run by hand."""

from benchmarks import one_shot
from winnow.spaces.macro import from_string


def row(method: str, seed: int, tau: float) -> dict:
    told = {"found": 90 + tau, "regret": 3 - tau, "mib": 500.0, "networks": 60, "epochs": 8, "passes": 1.0}
    return {"space": "macro", "method": method, "seed": seed, "tau": tau, "cpu_seconds": 20.0, **told}


def test_a_method_is_read_with_its_options():
    assert one_shot.parsed("spos") == ("spos", {})
    assert one_shot.parsed("abs:first=3,until=1e+2,judge=false") == (
        "abs",
        {"first": 3, "until": 100.0, "judge": False},
    )


def test_the_table_says_yes_no_or_cannot_tell():
    taus = {
        "spos": (0.1, 0.12, 0.11),
        "better": (0.5, 0.52, 0.51),
        "worse": (-0.4, -0.42, -0.41),
        "like": (0, 0.1, 0.3),
    }
    rows = [row(method, seed, tau) for method, each in taus.items() for seed, tau in enumerate(each)]
    lines = {
        line.split("|")[1].strip(" `"): line for line in one_shot.table(rows).splitlines() if line.startswith("| `")
    }
    assert ": yes" in lines["better"]
    assert ": no" in lines["worse"]
    assert ": cannot tell" in lines["like"]
    assert all(line.endswith("| 3 |") for line in lines.values())
    one = one_shot.table([row("spos", 0, 0.1), row("fair", 0, 0.9)])
    assert "cannot tell" in one.splitlines()[-1], "one seed tells nothing"


def test_a_network_of_the_chain_is_an_ensemble_that_shares_all():
    ground = one_shot.GROUNDS["macro"]
    space, arch = ground.build(2), from_string("22212202")
    path = one_shot.path_of(arch, space)
    space.check(path)
    assert path["split"] == 8
    assert path["layer1/shared"] == arch["block/0"]
    assert one_shot.path_of(arch, ground.build()) is arch
    live = {name: d.options[1:] for name, d in space.decisions.items() if name.startswith("layer4/")}
    left = one_shot.left_of(space.within(live), ground)
    assert left.count() == 2 * 3**7
    assert left.decisions["block/3"].options == ("mb3_k3", "mb6_k5")


def test_both_grounds_know_the_names_of_their_tables():
    assert one_shot.GROUNDS["macro"].of("22212202") == from_string("22212202")
    cell = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    space = one_shot.GROUNDS["nas_bench_201"].build()
    space.check(one_shot.GROUNDS["nas_bench_201"].of(cell))
