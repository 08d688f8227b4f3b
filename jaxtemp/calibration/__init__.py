"""How well probabilities match what happens.

>>> import jax.numpy as jnp
>>> from jaxtemp import calibration
>>> probs = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
>>> labels = jnp.array([0, 1, 1])
>>> print(calibration.brier_score(probs, labels).round(4))
0.4933
"""

from .metrics import ReliabilityTable as ReliabilityTable
from .metrics import brier_score as brier_score
from .metrics import calibration_error as calibration_error
from .metrics import negative_log_likelihood as negative_log_likelihood
from .metrics import reliability_table as reliability_table
