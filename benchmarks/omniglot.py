"""Make src/winnow/data/sources/omniglot.parquet of Omniglot's own archives.

    python benchmarks/omniglot.py images_background_small1.zip images_background_small2.zip

Both are of brendenlake/omniglot on GitHub (commit 057f034; MIT licence), and hold black strokes on white, 105 x 105, as
Alphabet/characterNN/NNNN_DD.png, DD being who drew it. Four alphabets are taken, shrunk to 14 x 14 by averaging areas,
and turned bright on dark. The same archives give the same rows.
"""

import argparse
import io
import math
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageOps

from winnow.data.sources.omniglot import FILE, SHAPE, digest_of

ALPHABETS = ("Balinese", "Early_Aramaic", "Greek", "Japanese_(katakana)")
NAME = re.compile(r"(?P<alphabet>[^/]+)/(?P<character>character\d+)/\d+_(?P<drawer>\d+)\.png")


def drawings(archives: list[Path]) -> Iterator[tuple[str, int, bytes]]:
    """The character, who drew it (from 0) and 196 bytes of pixels; in order, what two archives share once."""
    found = {}
    for archive in archives:
        with zipfile.ZipFile(archive) as content:
            for name in content.namelist():
                match = NAME.search(name)
                if match and match["alphabet"] in ALPHABETS:
                    found[f"{match['alphabet']}/{match['character']}", int(match["drawer"]) - 1] = content.read(name)
    for (character, drawer), png in sorted(found.items()):
        yield character, drawer, shrunk(png)


def shrunk(png: bytes) -> bytes:
    with Image.open(io.BytesIO(png)) as image:
        grey = ImageOps.invert(image.convert("L"))
    return np.asarray(grey.resize(SHAPE[:0:-1], Image.Resampling.BOX)).tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archives", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    rows = list(drawings(given.archives))
    characters, drawers, pixels = zip(*rows, strict=True)
    table = pa.table(
        {
            "pixels": pa.array(pixels, pa.binary(math.prod(SHAPE))),
            "character": pa.array(characters, pa.string()),
            "drawer": pa.array(drawers, pa.int8()),
        }
    )
    pq.write_table(table, given.out, compression="zstd", compression_level=22, use_dictionary=["character"])
    print(f"{given.out}: {len(rows)} drawings of {len(set(characters))} characters, digest {digest_of(table)}")


if __name__ == "__main__":
    main()
