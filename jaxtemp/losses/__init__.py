"""Losses in which temperature is an argument like any other."""

from ._contrastive import info_nce as info_nce
from ._contrastive import sigmoid_contrastive as sigmoid_contrastive
from ._cross_entropy import cross_entropy as cross_entropy
from ._distillation import distillation as distillation
from ._linear_cross_entropy import linear_cross_entropy as linear_cross_entropy
