"""[data_migrations]: how fast rows are moved."""

from oslo_config import cfg

from orchestrator.domain.pacing import USUAL_SIZES

GROUP = cfg.OptGroup("data_migrations", help="How fast rows are moved. A section [schema:NAME] may say otherwise.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.FloatOpt(
        "batch_seconds",
        default=USUAL_SIZES.seconds,
        min=0.001,
        max=60.0,
        help="For how long a batch may keep its rows locked. One that takes longer is followed by a smaller one, one "
        "that has time left by one of at most twice as many rows. The first has 100.",
    ),
    cfg.IntOpt(
        "batch_rows",
        default=USUAL_SIZES.most,
        min=1,
        max=1_000_000,
        help="Rows that are moved in one transaction at the most; a Python transform has them all in memory.",
    ),
    cfg.IntOpt(
        "batch_bytes",
        default=USUAL_SIZES.most_bytes,
        min=1,
        max=1024**3,
        help="Bytes that a Python transform reads in one transaction at the most: a batch ends with the row that "
        "takes it beyond that, so it may have fewer rows than min_batch_rows, and one at the least. What is computed "
        "in SQL is not read, and has its bound in batch_seconds alone.",
    ),
    cfg.IntOpt(
        "min_batch_rows",
        default=USUAL_SIZES.least,
        min=1,
        max=1_000_000,
        help="Rows that are moved in one transaction at the least, however long they take. With the same number as "
        "batch_rows every batch has so many. Only a batch that does not get its locks, or that meets a row that cannot "
        "be moved, is made smaller than that.",
    ),
    cfg.IntOpt(
        "workers",
        default=1,
        min=1,
        max=32,
        help="How many batches of one data migration may run at once in one database, by all daemons together; give "
        "every daemon the same number. With more than 1 each daemon moves rows in up to so many threads for each "
        "database, older versions of the orchestrator do not start any more once rows were moved so, and until no "
        "older daemon is left there is one. SQLite has one writer, so it has one worker.",
    ),
    cfg.FloatOpt(
        "pause_seconds", default=0.0, min=0.0, help="Pause between two batches of a worker, in each database."
    ),
    cfg.FloatOpt(
        "nice_ratio",
        default=0.0,
        min=0.0,
        max=100.0,
        help="How many times as long as a batch took its worker begins no other one, in each database: with 1, it "
        "moves rows half of the time. For 600 seconds at the most, and for pause_seconds at the least.",
    ),
)
