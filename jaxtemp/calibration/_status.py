"""How a fit ended."""

import enum


class Status(enum.IntEnum):
    """How a fit ended: the code that every fit carries as an integer array.

    Examples:
        >>> from jaxtemp import calibration
        >>> calibration.Status(1).name
        'SEPARABLE'
    """

    CONVERGED = 0
    """The likelihood has its maximum at what was found."""
    SEPARABLE = 1
    """Every row's label has its largest logit: the colder the likelier, τ = 0."""
    ANTI_CALIBRATED = 2
    """Labels have no higher logits than classes have on average: τ = ∞."""
    FLAT = 3
    """No row tells one temperature from another; τ = 1."""
    NOT_CONVERGED = 4
    """The steps ran out."""
    INVALID = 5
    """A row has a NaN, a `+inf` or an impossible label, or a weight is not one."""
    POOLED = 6
    """The group has too few rows: it has the temperature of all rows together."""
    OVERFIT = 7
    """Rows that were held out are less likely than at one temperature."""
