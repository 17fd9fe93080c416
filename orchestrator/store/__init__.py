"""The state of record: one transaction object over two kinds of storage, a SQL database and memory."""
