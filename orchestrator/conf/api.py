"""[api]: where the daemon listens, and who may ask."""

from oslo_config import cfg

GROUP = cfg.OptGroup("api", help="Where the daemon listens, and who may ask.")

OPTIONS: tuple[cfg.Opt, ...] = (
    cfg.StrOpt(
        "bind",
        default="127.0.0.1",
        help="Address to listen on. Every address but a loopback one needs tokens_file.",
    ),
    cfg.PortOpt("port", default=8776, min=1, help="TCP port to listen on."),
    cfg.StrOpt(
        "tokens_file",
        help="File with one token per line: NAME ROLE SHA256HEX, where ROLE is reader, service, deployer or operator. "
        "`orchestrator token new` makes such a line. Without it nobody is asked who they are. A relative path counts "
        "from the directory of the file that names it.",
    ),
)
