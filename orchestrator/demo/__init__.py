"""The demo: an example service goes from one release to the next under load, and nothing fails.

Its processes import this package too, so what only the program needs is imported when it runs.
"""

from orchestrator.demo.options import DatabaseKind, DemoOptions


def run_demo(options: DemoOptions) -> int:
    """Run the demo and return its exit code: 0 when nothing failed, 1 otherwise. Leaves no process behind."""
    from orchestrator.demo.program import run

    return run(options)


__all__ = ["DatabaseKind", "DemoOptions", "run_demo"]
