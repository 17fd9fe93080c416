"""[orchestrator]: what this orchestrator manages, and where it keeps its files."""

from oslo_config import cfg

GROUP = cfg.OptGroup("orchestrator", help="What this orchestrator manages, and where it keeps its files.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.ListOpt(
        "schemas",
        required=True,
        sample_default=["inventory"],
        help="Names of the managed schemas, in the order in which they are shown. Each has a section [schema:NAME].",
    ),
    cfg.StrOpt(
        "state_dir",
        default="/var/lib/orchestrator",
        help="Directory of the state database, where [database] connection names no other. A relative path counts "
        "from the directory of the file that names it.",
    ),
)
