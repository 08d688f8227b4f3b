"""Exact draws at a temperature."""

from ._categorical import categorical as categorical
from ._gumbel import GumbelTopK as GumbelTopK
from ._gumbel import gumbel_top_k as gumbel_top_k
