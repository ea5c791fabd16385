"""What --help shows of each command: a line that runs, in a folder where the stages before it have run."""

from collections.abc import Sequence

import click

EXAMPLES = {
    "inputs": "winnow inputs",
    "prepare": "winnow prepare",
    "search": "winnow search",
    "select": "winnow select",
    "tune": "winnow tune",
    "retrain": "winnow retrain --seed 0",
    "evaluate": "winnow evaluate",
    "study": "winnow study",
    "plan": "winnow plan study",
    "ui": "winnow ui --port 5001",
    "strategies": "winnow strategies darts",
    "selections": "winnow selections evolution",
    "proxies": "winnow proxies synflow",
    "tasks": "winnow tasks clicks",
    "check": "winnow check darts",
    "use": "winnow use darts_pt_small",
    "table": "winnow table show tables/nas_bench_201.parquet",
    "table import": "winnow table import nas_bench_201 nasbench201.parquet",
    "table join": "winnow table join tables/nas_bench_201.parquet measured.parquet --out tables/both.parquet",
    "table show": "winnow table show tables/nas_bench_201.parquet",
    "replay": "winnow replay --strategy regularised_evolution --table tables/nas_bench_201.parquet --seeds 20",
    "consistency": "winnow consistency c0r0s0e2 c2r0s0e2 --full c0r0s0e12 --networks 10",
    "score": "winnow score artifacts/architecture.json --space nas_bench_201 --proxies synflow,naswot",
    "rank": "winnow rank --space nas_bench_201 --table tables/nas_bench_201.parquet --sample 50",
    "predict": "winnow predict --table tables/nas_bench_201.parquet --space nas_bench_201 --train 200",
    "verify": "winnow verify select",
    "gate": "winnow gate --against main",
    "why": "winnow why artifacts/model.safetensors",
    "calibrate plan": "winnow calibrate plan --count 60 --out networks",
    "calibrate fit": "winnow calibrate fit board.json --out device.json",
    "promote": "winnow promote --against main",
    "clean": "winnow clean --yes",
    "space": "winnow space show nas_bench_201",
    "space list": "winnow space list",
    "space show": "winnow space show mobile --limit 10",
    "space sample": "winnow space sample nas_bench_201 -n 3",
    "space draw": "winnow space draw nas_bench_201 --out space.svg",
}


def show_examples(group: click.Group) -> None:
    """Below the options of each; commands that are not named here have theirs in their text."""
    for path, line in EXAMPLES.items():
        command: click.Command = group
        for word in path.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]
        command.epilog = f"\b\nExample:\n  {line}"


def know_short_help(group: click.Group, names: Sequence[str] = ("-h", "--help")) -> None:
    """Asked here, as click keeps the first answer: that of whoever asks without the group around would be --help."""
    for command in group.commands.values():
        command.get_help_option(click.Context(command, help_option_names=list(names)))
        if isinstance(command, click.Group):
            know_short_help(command, names)
