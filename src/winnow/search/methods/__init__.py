"""One short file a published method; each trains the weights of a space and returns its logits, or None."""

from winnow.search.methods.darts import darts
from winnow.search.methods.spos import spos

METHODS = {"darts": darts, "spos": spos}
