"""The losses of the three stages, one a file, each with its formula above its code."""

__all__: list[str] = []
