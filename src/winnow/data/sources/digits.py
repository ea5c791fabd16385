"""The handwritten digits bundled with scikit-learn: real images with nothing to download."""

import hashlib

import numpy as np

from winnow.data.labelled import classified, labelled, limited
from winnow.data.source import Options, Source
from winnow.data.sources.decode import resize_all


def digits(options: Options) -> Source:
    """1,797 grey images of 8x8 pixels in 10 classes; no test set of its own; a mirrored digit is another sign.

    Source: Alpaydin and Kaynak 1998, the UCI test set of "Optical Recognition of Handwritten Digits".
    """
    from sklearn.datasets import load_digits  # takes a second to import

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # the set counts 0 to 16
    rows = limited(bunch.target, options.limit_train, "limit_train", options.seed)
    digest = hashlib.blake2b(images.tobytes() + bunch.target.astype("<i8").tobytes(), digest_size=16).hexdigest()
    train = labelled(resize_all(images[rows], options.image_size), bunch.target[rows], rows)
    return classified(train, None, tuple("0123456789"), symmetric=False, digest=digest)
