"""The one message for an optional package that is not installed."""


def missing_extra(package: str, extra: str, user: str) -> ImportError:
    """Says which optional package `user` needs and which extra installs it.

    Args:
        package: the package that could not be imported, as pip names it.
        extra: the extra of `jaxtemp` that contains it.
        user: the public name that needs it.

    Returns:
        The error to raise, so that the caller can chain it to its cause.

    >>> print(missing_extra("optax", "learn", "jaxtemp.learning.clamp"))
    `jaxtemp.learning.clamp` needs optax, which is not installed; run: \
pip install 'jaxtemp[learn]'
    """
    return ImportError(
        f"`{user}` needs {package}, which is not installed; "
        f"run: pip install 'jaxtemp[{extra}]'",
        name=package,
    )
