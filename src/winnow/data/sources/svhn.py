"""SVHN, house numbers cropped to their digits: two files of MATLAB, fetched once or given in a folder."""

from pathlib import Path

import numpy as np
import pooch

from winnow.core.errors import Refused
from winnow.data.labelled import classified, labelled, limited
from winnow.data.source import Options, Part, Source
from winnow.data.sources.decode import resize_all
from winnow.data.sources.download import fetch
from winnow.data.sources.sets import files_digest

URL = "http://ufldl.stanford.edu/housenumbers/"
CHECKSUMS = {
    "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
    "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
}


def svhn(options: Options) -> Source:
    """73,257 training and 26,032 test images, 3x32x32, of the ten digits; a mirrored digit is another sign.

    `path` is a folder with train_32x32.mat and test_32x32.mat; without it they are fetched into the user's cache. The
    531,131 easier images of extra_32x32.mat are not used. Source: Netzer et al. 2011, "Reading Digits in Natural Images
    with Unsupervised Feature Learning".
    """
    if options.path is None:
        files = [fetch(URL + name, checksum) for name, checksum in CHECKSUMS.items()]
    else:
        files = [Path(options.path) / name for name in CHECKSUMS]
    train = _part(files[0], options.limit_train, "limit_train", options)
    test = _part(files[1], options.limit_test, "limit_test", options)
    return classified(train, test, tuple("0123456789"), symmetric=False, digest=files_digest(files))


def _part(path: Path, limit: int | None, option: str, options: Options) -> Part:
    from scipy.io import loadmat  # takes a while to import

    if not path.is_file():
        raise Refused(f"data.path: there is no file {path}; give the folder with {' and '.join(CHECKSUMS)}, or null")
    found = f"md5:{pooch.file_hash(str(path), 'md5')}"
    if found != CHECKSUMS[path.name]:  # looked at first, as loadmat ends in a crash on some damaged files
        raise Refused(
            f"{path} is not the published file, whose checksum is {CHECKSUMS[path.name]}, not {found}; fetch it again"
        )
    content = loadmat(path, variable_names=["X", "y"])  # (32, 32, 3, n) and (n, 1)
    labels = content["y"].reshape(-1).astype(np.int32) % 10  # 10 says zero there
    rows = limited(labels, limit, option, options.seed)
    pixels = np.ascontiguousarray(content["X"].transpose(3, 2, 0, 1)[rows])
    return labelled(resize_all(pixels, options.image_size), labels[rows], rows)
