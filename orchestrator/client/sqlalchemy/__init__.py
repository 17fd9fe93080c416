"""The hook for SQLAlchemy: database sessions that carry their instance's lease, and a life without a daemon.

The one part of the client that needs more than the standard library: SQLAlchemy 2, which the service has anyway.
"""

from orchestrator.client.sqlalchemy.fence_table import FenceTable
from orchestrator.client.sqlalchemy.guard import guard

__all__ = ["FenceTable", "guard"]
