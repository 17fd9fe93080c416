"""Schema migrations: what a release changes in the database's structure, judged before it runs and verified after."""
