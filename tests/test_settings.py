"""Settings: where they come from, which wins, and what is said of a wrong one."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ringback.settings import CONFIG_FILE, PREFIX, Settings, SettingsError, load_settings, split_address

#: A value for every setting, not its default, as text.
OTHERS = {
    "database_url": "sqlite:///other.db",
    "telephony": "sandbox",
    "listen": "[::1]:9000",
    "registrar": "[::1]:5060",
    "trusted_proxies": "127.0.0.1, 10.0.0.0/8",
    "minute_seconds": "0.5",
    "timestamp_tolerance_seconds": "60",
    "no_reply_seconds": "2.5",
    "takeover_seconds": "12.5",
    "drain_seconds": "0",
    "idle_poll_seconds": "0.25",
    "sip_workers": "4",
    "reports_keep_days": "2.5",
    "report_networks": "10.0.0.0/8, ::1",
    "recordings": "/srv/recordings",
    "state": "/srv/state",
    "asterisk": "http://ringback:secret@127.0.0.1:8088",
    "asterisk_name": "second",
    "asterisk_sounds": "/srv/sounds",
    "asterisk_detect_machines": "false",
    "max_body_megabytes": "1",
    "log_level": "debug",
    "log_format": "json",
}
NAMES = [field.name for field in msgspec.structs.fields(Settings)]


def write(folder: Path, text: str) -> None:
    (folder / CONFIG_FILE).write_text(text)


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings({}, tmp_path)
    assert settings == Settings()
    assert (settings.database_url, settings.telephony, settings.listen, settings.minute_seconds) == (
        "sqlite:///ringback.db",
        "sip",
        "127.0.0.1:8700",
        60,
    )
    assert settings.proxies == ()
    assert settings.networks_of_reports == ()


def test_every_setting_can_be_set_in_the_environment(tmp_path: Path) -> None:
    assert OTHERS.keys() == set(NAMES)
    settings = load_settings({PREFIX + name.upper(): text for name, text in OTHERS.items()}, tmp_path)
    defaults = Settings()
    for name, text in OTHERS.items():
        found = getattr(settings, name)
        assert found != getattr(defaults, name)
        assert found == msgspec.convert(text, type(found), strict=False)
    assert settings.proxies == ("127.0.0.1", "10.0.0.0/8")
    assert [str(one) for one in settings.networks_of_reports] == ["10.0.0.0/8", "::1/128"]


def test_every_setting_can_be_set_in_the_file(tmp_path: Path) -> None:
    numbers = {field.name for field in msgspec.structs.fields(Settings) if field.type in (int, float, bool)}
    lines = [f"{name} = {text if name in numbers else repr(text)}" for name, text in OTHERS.items()]
    write(tmp_path, "\n".join(lines))
    from_environment = load_settings({PREFIX + name.upper(): text for name, text in OTHERS.items()}, Path("nowhere"))
    assert load_settings({}, tmp_path) == from_environment


def test_the_file_is_looked_for_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "sip_workers = 7")
    monkeypatch.chdir(tmp_path)
    assert load_settings({}).sip_workers == 7


def test_the_process_s_environment_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RINGBACK_SIP_WORKERS", "7")
    assert load_settings(folder=tmp_path).sip_workers == 7


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    write(tmp_path, 'listen = "127.0.0.1:1"\nsip_workers = 5\nlog_format = "json"')
    environment = {"RINGBACK_LISTEN": "127.0.0.1:2", "RINGBACK_SIP_WORKERS": "6", "PATH": "/bin"}
    settings = load_settings(environment, tmp_path, listen="127.0.0.1:3", sip_workers=None)
    assert (settings.listen, settings.sip_workers, settings.log_format) == ("127.0.0.1:3", 6, "json")


def test_a_value_that_is_overridden_must_still_be_known_by_name(tmp_path: Path) -> None:
    write(tmp_path, "sip_worker = 5")
    with pytest.raises(SettingsError, match=r"ringback\.toml: unknown setting sip_worker$"):
        load_settings({"RINGBACK_SIP_WORKERS": "6"}, tmp_path)


@pytest.mark.parametrize(
    "variable", ["RINGBACK_", "RINGBACK_LISTENS", "RINGBACK_Listen", "RINGBACK_listen", "RINGBACK_DATABASE_URL_"]
)
def test_an_unknown_name_in_the_environment(tmp_path: Path, variable: str) -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({variable: "x"}, tmp_path)
    assert str(raised.value) == f"unknown setting in the environment: {variable}"


def test_variables_of_other_programs_do_not_matter(tmp_path: Path) -> None:
    assert load_settings({"RINGBACKS": "x", "MY_RINGBACK_LISTEN": "x", "ringback_listen": "x"}, tmp_path) == Settings()


WRONG = {
    # name, text, what is said
    "telephony": ("phone", "must be one of sip, asterisk, sandbox, got 'phone'"),
    "log_level": ("loud", "must be one of debug, info, warning, error, got 'loud'"),
    "log_format": ("", "must be one of console, json, got ''"),
    "listen": ("8700", "must be HOST:PORT, got '8700'"),
    "registrar": ("5060", "must be HOST:PORT, got '5060'"),
    "trusted_proxies": ("10.0.0.0/8, proxy", "must hold addresses or networks: 'proxy' does not"),
    "minute_seconds": ("a minute", "must be a number, got 'a minute'"),
    "timestamp_tolerance_seconds": ("1.5", "must be a whole number, got '1.5'"),
    "no_reply_seconds": ("0", "must be more than 0"),
    "takeover_seconds": ("0", "must be more than 0"),
    "drain_seconds": ("-1", "must not be negative"),
    "idle_poll_seconds": ("nan", "must be a number, got nan"),
    "reports_keep_days": ("0", "must be more than 0"),
    "report_networks": ("10.0.0.0/8, crm", "must hold networks: 'crm' does not"),
    "recordings": (" ", "must be the name of a folder"),
    "state": ("", "must be the name of a folder"),
    "sip_workers": ("-2", "must be more than 0"),
    "asterisk_name": ("ring-back", "must be 2 to 32 letters and digits, a letter first"),
    "asterisk_sounds": ("", "must be the name of a folder"),
    "asterisk_detect_machines": ("maybe", "must be true or false, got 'maybe'"),
    "max_body_megabytes": ("", "must be a whole number, got ''"),
}


@pytest.mark.parametrize(("name", "text", "said"), [(name, *wrong) for name, wrong in WRONG.items()])
def test_a_wrong_value_is_named_with_where_it_came_from(tmp_path: Path, name: str, text: str, said: str) -> None:
    variable = PREFIX + name.upper()
    with pytest.raises(SettingsError) as raised:
        load_settings({variable: text}, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{variable} in the environment: ")
    assert said in message
    write(tmp_path, f"{name} = {text!r}")
    with pytest.raises(SettingsError) as raised:
        load_settings({}, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{name} in {tmp_path / CONFIG_FILE}: ")
    assert said in message
    with pytest.raises(SettingsError, match=f"^{name} on the command line: "):
        load_settings({}, Path("nowhere"), **{name: text})


def test_every_setting_but_addresses_can_be_wrong() -> None:
    """Any text may be the address of a database or of Asterisk servers; opening it says more."""
    assert WRONG.keys() == set(NAMES) - {"database_url", "asterisk"}


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "1e999", "0", "-1"])
@pytest.mark.parametrize("name", ["minute_seconds", "no_reply_seconds", "idle_poll_seconds"])
def test_lengths_of_time_are_real_ones(tmp_path: Path, name: str, number: str) -> None:
    with pytest.raises(SettingsError, match=f"^{PREFIX}{name.upper()} in the environment: "):
        load_settings({PREFIX + name.upper(): number}, tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "listen = ",
        "listen = 8700",
        "sip_workers = true",
        "sip_workers = [1]",
        "minute_seconds = inf",
        "database_url = 2026-01-01",
        "database_url = 5",
        "[database_url]\nfile = 'x'",
        "[server]\nlisten = '127.0.0.1:8700'",
        "\x00",
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(SettingsError, match=r"ringback\.toml"):
        load_settings({}, tmp_path)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_bytes(b"listen = '\xff'")
    with pytest.raises(SettingsError, match=r"ringback\.toml"):
        load_settings({}, tmp_path)


def test_a_folder_in_the_file_s_place_is_named(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).mkdir()
    with pytest.raises(SettingsError, match=r"ringback\.toml"):
        load_settings({}, tmp_path)


def test_an_unknown_name_on_the_command_line_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        load_settings({}, Path("nowhere"), listens="x")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8700", "127.0.0.1", 8700),
        ("localhost:0", "localhost", 0),
        ("0.0.0.0:65535", "0.0.0.0", 65_535),
        ("[::1]:8700", "::1", 8700),
        ("[2001:db8::1]:80", "2001:db8::1", 80),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    assert split_address(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "8700",
        ":8700",
        "localhost",
        "localhost:",
        "localhost:http",
        "localhost:-1",
        "localhost:65536",
        "localhost:٨٧",
        "localhost:8 7",
        "localhost:" + "9" * 5_000,
        "[]:80",
        "::1:8700",
        "[::1:80",
        "::1]:80",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="must be HOST:PORT, got"):
        split_address(text)
