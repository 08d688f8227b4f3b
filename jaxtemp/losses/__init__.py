"""Losses in which temperature is an argument like any other."""

from ._cross_entropy import cross_entropy as cross_entropy
from ._linear_cross_entropy import linear_cross_entropy as linear_cross_entropy
