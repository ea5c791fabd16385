"""Which part of a data set a folder or file is, by its name: one rule for folders of images and for Parquet."""

import re

WORDS = {"train": ("training", "train"), "test": ("testing", "test"), "validation": ("validation", "valid", "val")}
TESTS = ("test", "validation")  # the first of these that is there, with labels, is the test set


def role_of(name: str) -> str | None:
    """ "train", "test" or "validation" where `name` begins with a word for it, whatever the case; else None.

    train, Training, TEST, val2017, training_set, test-00000-of-00001; not trainer or valley.
    """
    for role, words in WORDS.items():
        if re.match(rf"({'|'.join(words)})([^a-z]|$)", name, re.IGNORECASE):
            return role
    return None
