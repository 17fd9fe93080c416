"""Maintenance windows: what a cron line means, also while clocks are put forward or back, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from orchestrator.conf.crontab import CronWindow
from orchestrator.conf.settings import WindowSettings
from orchestrator.conf.window import windows_of
from orchestrator.domain.errors import ConfigurationError
from orchestrator.domain.windows import ALWAYS
from tests.conf.test_throttles import POSTGRESQL, loaded

WINDOW = "[window:nova:night]\n"
NIGHT = f"{WINDOW}cron = 0 22 * * mon-fri\nduration = 8h\ntimezone = Europe/Berlin\n"
SEVERAL = "databases = one, two\n"
BOTH = (
    "[database:nova:one]\nconnection = postgresql://one/nova\n[database:nova:two]\nconnection = postgresql://two/nova\n"
)
BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = BERLIN) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def made(cron: str, hours: float = 1, zone: str = "Europe/Berlin") -> CronWindow:
    return CronWindow("night", cron, hours * 3600, ZoneInfo(zone), zone)


def opened(window: CronWindow, since: float, number: int) -> list[str]:
    """The first times it opens that are not over by then, in its own time zone and in UTC."""
    return [
        f"{datetime.fromtimestamp(each.opens_at, BERLIN):%a %Y-%m-%d %H:%M}, "
        f"{datetime.fromtimestamp(each.opens_at, UTC):%H:%M}"
        for each in islice(window.openings(since), number)
    ]


def days(cron: str) -> list[str]:
    """On which days of a week that begins on Sunday it opens."""
    found = islice(made(f"0 12 * * {cron}").openings(at("2026-11-22")), 8)
    return [f"{datetime.fromtimestamp(each.opens_at, BERLIN):%a}" for each in found if each.opens_at < at("2026-11-29")]


def test_a_window_is_read(tmp_path: Path) -> None:
    found = loaded(tmp_path, POSTGRESQL, NIGHT)
    assert found.windows == (WindowSettings("night", "0 22 * * mon-fri", 28_800.0, "Europe/Berlin"),)
    (opening,) = islice(windows_of(found)["nova"].openings(at("2026-11-21 12:00")), 1)
    assert windows_of(found)["nova"].told(opening.opens_at) == "Mon 2026-11-23 22:00 Europe/Berlin"
    assert opening.seconds == 28_800


def test_without_windows_a_database_is_always_open(tmp_path: Path) -> None:
    assert windows_of(loaded(tmp_path, POSTGRESQL))["nova"] == ALWAYS


def test_windows_are_those_of_their_databases(tmp_path: Path) -> None:
    weekend = "[window:nova:weekend]\ncron = 0 0 * * sat\nduration = 2d\ndatabases = two\n"
    found = loaded(tmp_path, SEVERAL, BOTH + weekend)
    assert windows_of(found)["one"] == ALWAYS
    assert [each.name for each in windows_of(found)["two"].each] == ["weekend"]
    found = loaded(tmp_path, SEVERAL, BOTH + weekend + NIGHT)
    windows = windows_of(found)
    assert [each.name for each in windows["one"].each] == ["night"]
    assert [each.name for each in windows["two"].each] == ["weekend", "night"]
    assert windows["one"].each[0] is windows["two"].each[1]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("8h", 28_800),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("90 m", 5400),
        ("1d 0h 30m", 88_200),
        ("2d", 172_800),
        ("45s", 45),
        ("1D12H", 129_600),
    ],
)
def test_durations_are_read(tmp_path: Path, text: str, seconds: float) -> None:
    found = loaded(tmp_path, POSTGRESQL, f"{WINDOW}cron = 0 22 * * *\nduration = {text}\n")
    assert (found.windows[0].duration_seconds, found.windows[0].timezone) == (seconds, "UTC")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("0", "Sun"), ("7", "Sun"), ("1", "Mon"), ("6", "Sat"), ("sun", "Sun"), ("1-5", "Mon Tue Wed Thu Fri"),
        ("mon-fri", "Mon Tue Wed Thu Fri"), ("5-7", "Sun Fri Sat"), ("fri-mon", "Sun Mon Fri Sat"),
        ("sun-thu", "Sun Mon Tue Wed Thu"), ("0-4", "Sun Mon Tue Wed Thu"), ("0,6", "Sun Sat"),
        ("*/2", "Sun Tue Thu Sat"), ("1-5/2", "Mon Wed Fri"), ("mon-fri/2", "Mon Wed Fri"),
        ("0-7", "Sun Mon Tue Wed Thu Fri Sat"),
        ("SAT,sun", "Sun Sat"), ("*", "Sun Mon Tue Wed Thu Fri Sat"),
    ],
)  # fmt: skip
def test_days_of_the_week_are_those_that_cron_means(written: str, meant: str) -> None:
    assert days(written) == meant.split()


def test_a_window_lasts_its_duration_when_clocks_are_put_forward() -> None:
    (opening,) = islice(made("0 22 * * *", hours=8).openings(at("2026-03-28 23:00")), 1)
    assert (opening.opens_at, opening.closes_at) == (utc("2026-03-28 21:00"), utc("2026-03-29 05:00"))
    assert made("0 22 * * *").told(opening.closes_at) == "Sun 2026-03-29 07:00 Europe/Berlin"


def test_a_window_lasts_its_duration_when_clocks_are_put_back() -> None:
    (opening,) = islice(made("0 22 * * *", hours=8).openings(at("2026-10-24 23:00")), 1)
    assert (opening.opens_at, opening.closes_at) == (utc("2026-10-24 20:00"), utc("2026-10-25 04:00"))
    assert made("0 22 * * *").told(opening.closes_at) == "Sun 2026-10-25 05:00 Europe/Berlin"


def test_a_time_that_clocks_leap_over_opens_when_they_do() -> None:
    assert opened(made("30 2 * * *"), at("2026-03-28 12:00"), 2) == [
        "Sun 2026-03-29 03:00, 01:00",
        "Mon 2026-03-30 02:30, 00:30",
    ]
    assert opened(made("30 2 * * sun"), at("2026-03-28 12:00"), 1) == ["Sun 2026-03-29 03:00, 01:00"]


@pytest.mark.parametrize("minute", range(1, 60, 7))
def test_the_window_that_opened_so_is_found_at_every_moment_of_it(minute: int) -> None:
    """The clocks show 03:01 to 03:59 then, which is after 02:30."""
    now = utc("2026-03-29 01:00") + minute * 60
    assert next(made("30 2 * * *").openings(now)).opens_at == utc("2026-03-29 01:00")


def test_the_midnight_after_clocks_were_put_forward_is_not_left_out() -> None:
    assert opened(made("0 0 * * *"), at("2026-03-29 12:00"), 2) == [
        "Mon 2026-03-30 00:00, 22:00",
        "Tue 2026-03-31 00:00, 22:00",
    ]


def test_a_time_that_comes_twice_opens_once() -> None:
    assert opened(made("30 2 * * *"), at("2026-10-24 12:00"), 2) == [
        "Sun 2026-10-25 02:30, 00:30",
        "Mon 2026-10-26 02:30, 01:30",
    ]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Africa/Cairo", "Australia/Lord_Howe", "America/New_York", "UTC"])
@pytest.mark.parametrize("hour", [0, 2])
def test_each_day_of_a_year_has_its_window(zone: str, hour: int) -> None:
    year = islice(made(f"15 {hour} * * *", zone=zone).openings(at("2026-01-01", ZoneInfo(zone))), 365)
    found = [each.opens_at for each in year]
    assert len({datetime.fromtimestamp(each, ZoneInfo(zone)).date() for each in found}) == 365
    assert found == sorted(found)
    assert datetime.fromtimestamp(found[-1], ZoneInfo(zone)).date().isoformat() == "2026-12-31"


def test_a_leap_day_comes() -> None:
    assert made("0 0 29 2 *").ever_opens
    assert not made("0 0 30 2 *").ever_opens


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("0 22 * *", "it needs five fields (minute, hour, day, month, day of the week) and has 4"),
        ("@daily", "day of the week) and has 1"),
        ("0 22 * * * *", "day of the week) and has 6"),
        ("60 22 * * *", "higher than the maximum value (59)"),
        ("0 22-6 * * *", "must not be higher than the maximum"),
        ("0 22 * jan-mar/2 *", "'jan-mar/2' is nothing that can be understood"),
        ("0 22 * january *", "january"),
        ("0 22 lastfoo * *", "lastfoo"),
        ("0 22 * * 8", "'8' is no day of the week: write sun to sat, or 0 to 7"),
        ("0 22 * * monday", "'monday' is no day of the week"),
        ("0 22 * * mon-", "'mon-' names no days of the week"),
        ("0 22 * * */0", "'*/0' names no days of the week"),
        ("0 22 * * 1/2", "'1/2' names no days of the week"),
        ("0 22 1 * mon", "it names days of the month and days of the week"),
        ("5/10 * * * *", "'5/10' is nothing that can be understood"),
        ("*/0 * * * *", "Increment must be higher than 0"),
        ("soon please now or never", "'soon' is nothing that can be understood"),
        ("0 0 30 2 *", "such a day never comes"),
        ("0 0 31 4,6,9,11 *", "such a day never comes"),
    ],
)
def test_cron_lines_that_mean_nothing_or_two_things_are_refused(tmp_path: Path, cron: str, said: str) -> None:
    refused(tmp_path, f"cron = {cron}\nduration = 8h\n", "option_value_invalid", "[window:nova:night] cron: ", said)


def refused(tmp_path: Path, written: str, code: str, *said: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, POSTGRESQL, WINDOW + written)
    assert caught.value.code == code
    for each in (*said, "orchestrator.conf:"):
        assert each in caught.value.message
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "duration", ["0h", "0m", "-1h", "8", "soon", "1h30", "h", "1.5h", "32d", "9999999999999999h", "8 h x", "1 0h"]
)
def test_durations_that_are_none_are_refused(tmp_path: Path, duration: str) -> None:
    written = f"cron = 0 22 * * *\nduration = {duration}\n"
    refused(
        tmp_path, written, "option_value_invalid", "[window:nova:night] duration: ", "is no time between 1s and 31d"
    )


@pytest.mark.parametrize("zone", ["Europe/Berln", "berlin", "../../etc/passwd", "/etc/localtime", "localtime"])
def test_time_zones_that_nobody_knows_are_refused(tmp_path: Path, zone: str) -> None:
    written = f"cron = 0 22 * * *\nduration = 8h\ntimezone = {zone}\n"
    error = refused(tmp_path, written, "option_value_invalid", f"timezone: there is no time zone {zone}")
    assert "Europe/Berlin" in error.remedy or zone.endswith("localtime")


def test_a_machine_that_knows_no_time_zones_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.conf.window.available_timezones", set)
    error = refused(tmp_path, "cron = 0 22 * * *\nduration = 8h\ntimezone = Europe/Berlin\n", "option_value_invalid")
    assert "install tzdata" in error.remedy
    assert loaded(tmp_path, POSTGRESQL, f"{WINDOW}cron = 0 22 * * *\nduration = 8h\n").windows


def test_a_window_in_which_no_batch_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, POSTGRESQL + "batch_seconds = 45\n", f"{WINDOW}cron = 0 22 * * *\nduration = 90s\n")
    assert "duration: no batch fits in: one may take 92 s with batch_seconds = 45" in caught.value.message
    assert loaded(tmp_path, POSTGRESQL, f"{WINDOW}cron = 0 22 * * *\nduration = 90s\n").windows


def test_a_window_that_may_close_before_a_daemon_looks_and_a_batch_is_done_is_refused(tmp_path: Path) -> None:
    short = f"{WINDOW}cron = * * * * *\nduration = 3s\n"
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, POSTGRESQL, short)
    assert "a daemon looks every 1 s ([cycle] interval_seconds)" in caught.value.message
    assert "open for 4s at the least" in caught.value.remedy
    found = loaded(tmp_path, POSTGRESQL, f"{short}[cycle]\ninterval_seconds = 0.5\n")
    opening = windows_of(found)["nova"].opening(0.0)
    assert opening is not None
    assert windows_of(found)["nova"].told(opening.closes_at) == "Thu 1970-01-01 00:00:03 UTC"


@pytest.mark.parametrize(
    ("rest", "code", "said", "remedy"),
    [
        (f"{WINDOW}duration = 8h\n", "option_missing", "has no option cron", "Add `cron"),
        (f"{WINDOW}cron = 0 22 * * *\n", "option_missing", "has no option duration", "Add `duration"),
        (f"{NIGHT}databases = nowa\n", "database_unknown", "no database nowa", "Did you mean nova?"),
        (f"{NIGHT}timezon = UTC\n", "option_unknown", "has no option timezon", "Did you mean timezone?"),
        ("[window:nov:night]\ncron = 0 22 * * *\n", "section_unknown", "no section [window:nov:night]", "schema nova?"),
        ("[window:nova:]\ncron = 0 22 * * *\n", "section_unknown", "no section [window:nova:]", "[window:SCHEMA:NAME]"),
        ("[windows:nova:night]\ncron = 0 22 * * *\n", "section_unknown", "no section [windows:", "Known are"),
    ],
)
def test_what_is_not_there_is_named(tmp_path: Path, rest: str, code: str, said: str, remedy: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, POSTGRESQL, rest)
    assert (caught.value.code, said in caught.value.message) == (code, True), caught.value
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    "written", ["cron = 0 22 * * *  # at night\nduration = 8h", "cron = 0 22 * * *\nduration = 8h # of 24"]
)
def test_a_comment_behind_a_value_is_called_so(tmp_path: Path, written: str) -> None:
    assert "A comment needs a line of its own." in refused(tmp_path, f"{written}\n", "option_value_invalid").remedy


def test_the_example_of_the_sample_may_be_there_without_a_value(tmp_path: Path) -> None:
    assert loaded(tmp_path, POSTGRESQL, "[window:inventory:night]\n").windows == ()
