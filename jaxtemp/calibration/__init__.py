"""How well probabilities match what happens.

>>> import jax.numpy as jnp
>>> from jaxtemp import calibration
>>> probs = jnp.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
>>> labels = jnp.array([0, 1, 1])
>>> print(calibration.brier_score(probs, labels).round(4))
0.4933
"""

from ._bootstrap import Interval as Interval
from ._bootstrap import bootstrap as bootstrap
from ._decomposition import BrierDecomposition as BrierDecomposition
from ._decomposition import brier_decomposition as brier_decomposition
from ._errors import ReliabilityTable as ReliabilityTable
from ._errors import calibration_error as calibration_error
from ._errors import classwise_calibration_error as classwise_calibration_error
from ._errors import maximum_calibration_error as maximum_calibration_error
from ._errors import reliability_table as reliability_table
from ._groups import GroupTemperatureFit as GroupTemperatureFit
from ._groups import fit_group_temperatures as fit_group_temperatures
from ._isotonic import IsotonicFit as IsotonicFit
from ._isotonic import fit_isotonic as fit_isotonic
from ._mixture import EnsembleFit as EnsembleFit
from ._mixture import fit_ensemble as fit_ensemble
from ._scaling import ScalingFit as ScalingFit
from ._scaling import fit_matrix_scaling as fit_matrix_scaling
from ._scaling import fit_vector_scaling as fit_vector_scaling
from ._smooth import smooth_calibration_error as smooth_calibration_error
from ._status import Status as Status
from ._temperature import TemperatureFit as TemperatureFit
from ._temperature import fit_temperature as fit_temperature
from .metrics import brier_score as brier_score
from .metrics import negative_log_likelihood as negative_log_likelihood
