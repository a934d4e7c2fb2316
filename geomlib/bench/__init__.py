"""`geomlib bench`: our operations beside those of other libraries, in one process and in turn."""

__all__: list[str] = []
