"""The one way in which the demo stops early."""

from __future__ import annotations


class DemoFailed(Exception):
    """Something that the demo needs did not happen. The message says what, and shows the place to look at."""
