"""What `winnow rank` leaves behind: rows as Parquet, a picture, and a run in MLflow that holds both."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from winnow.config.params import TrackingParams
from winnow.config.reading import read_params
from winnow.look.ranking import draw_ranking
from winnow.run.draw import save
from winnow.run.files import atomic
from winnow.tools.ranking import Ranking
from winnow.tracking import track

Keep = Callable[[Ranking, str], list[Path]]


@contextlib.contextmanager
def tracked(out: Path, asked: Mapping[str, Any]) -> Iterator[Keep]:
    """A run `rank` for the block, in the store of the project around (a params.yaml here), else in one below `out`.

    The block calls `keep(ranking, title)`, which writes rank.parquet and rank.svg to `out` and gives their paths.
    """
    here = Path("params.yaml")
    root, tracking = (
        (Path("."), read_params(here, methods=False).tracking) if here.exists() else (out, TrackingParams())
    )
    asked = {key: str(value) if isinstance(value, Path) else value for key, value in asked.items()}
    with track("rank", params={"rank": asked, "space": {"name": asked["name"]}}, root=root, tracking=tracking) as run:

        def keep(ranking: Ranking, title: str) -> list[Path]:
            rows, picture = out / "rank.parquet", out / "rank.svg"
            with atomic(rows) as temporary:
                pq.write_table(pa.Table.from_pylist(ranking.rows), temporary.absolute())
            save(draw_ranking(ranking.rows, title), picture)
            for row in ranking.rows:
                numbers = ("kendall", "spearman", "given_size", "top_precision", "ndcg_top", "missing")
                run.metrics({f"{row['proxy']}.{name}": float(row[name]) for name in numbers})
            for path in (rows, picture, ranking.swept.path):
                run.artifact(path)
            run.note(title)
            return [rows, picture]

        yield keep
