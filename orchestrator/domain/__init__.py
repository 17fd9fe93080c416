"""The rules: what may happen when. Standard library only; no clock and no I/O."""
