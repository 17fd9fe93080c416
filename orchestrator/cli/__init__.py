"""The command line: `orchestrator NOUN VERB`, one file per noun."""
