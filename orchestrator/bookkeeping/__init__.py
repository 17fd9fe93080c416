"""Bookkeeping: the orchestrator's own rows inside each managed database."""
