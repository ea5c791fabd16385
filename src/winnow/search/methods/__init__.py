"""One short file a published method; each trains the weights of a space and returns its logits, or None."""

from winnow.search.methods.beta_darts import beta_darts
from winnow.search.methods.blank import blank
from winnow.search.methods.darts import darts
from winnow.search.methods.gdas import gdas
from winnow.search.methods.gumbel import gumbel_darts
from winnow.search.methods.pc_darts import pc_darts
from winnow.search.methods.sdarts import sdarts
from winnow.search.methods.setn import setn
from winnow.search.methods.sgas import sgas
from winnow.search.methods.spos import spos
from winnow.search.methods.subset import subset
from winnow.search.methods.unas import unas

METHODS = {
    "darts": darts,
    "sdarts": sdarts,
    "beta_darts": beta_darts,
    "gdas": gdas,
    "gumbel": gumbel_darts,
    "pc_darts": pc_darts,
    "sgas": sgas,
    "setn": setn,
    "unas": unas,
    "subset": subset,
    "blank": blank,
    "spos": spos,
}
