"""The Asterisk configuration that users copy, and the command that writes it."""

from __future__ import annotations

import re
import stat

import pytest
from typer.testing import CliRunner

from ringback.cli.main import app
from ringback.telephony.asterisk.address import read_addresses
from ringback.telephony.asterisk.configuration import AsteriskOptions, asterisk_files


def run(*arguments):
    return CliRunner().invoke(app, ["asterisk", "config", *map(str, arguments)])


def test_every_place_is_filled_and_every_file_explained():
    options = AsteriskOptions(password="p455word", http_port=18088, sip_port=15060, rtp_start=20_000, rtp_end=20_999)
    files = asterisk_files(options)
    for name, text in files.items():
        assert not re.search(r"@\w+@", text), name
        assert text.startswith("; "), f"{name} does not say what it is for"
    assert "password=p455word\n" in files["ari.conf"]
    assert "bindport=18088\n" in files["http.conf"]
    assert "bind=0.0.0.0:15060\n" in files["pjsip.conf"]
    assert "rtpstart=20000\nrtpend=20999\n" in files["rtp.conf"]
    assert [name for name, text in files.items() if "p455word" in text] == ["ari.conf"]


def test_sip_over_ipv6_is_written_as_asterisk_wants_it():
    files = asterisk_files(AsteriskOptions(password="p", sip_host="::", http_host="::1"))
    assert "bind=[::]:5060\n" in files["pjsip.conf"]
    assert "bindaddr=::1\n" in files["http.conf"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"password": ""}, "password must be 1 to 128"),
        ({"password": "a\nb"}, "password must be"),
        ({"password": "a;b"}, "password must be"),
        ({"user": "a]"}, "user must be"),
        ({"http_host": "1\nenabled=no"}, "http_host must be"),
        ({"sip_host": ""}, "sip_host must be"),
        ({"http_port": 0}, "http_port must be 1 to 65535, got 0"),
        ({"sip_port": 65_536}, "sip_port must be"),
        ({"rtp_end": 65_536}, "rtp_end must be 1"),
        ({"rtp_start": 19_998}, "rtp_end must be at least"),
    ],
)
def test_bad_options_are_named(options, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        AsteriskOptions(**{"password": "p", **options})


def test_the_command_writes_files_that_only_the_group_reads_and_says_what_to_set(tmp_path):
    folder = tmp_path / "new" / "etc"
    done = run(folder, "--password", "p455", "--http", "127.0.0.1:18088", "--rtp", "20000-20999")
    assert done.exit_code == 0, done.output
    written = {path.name: path for path in folder.iterdir()}
    expected = asterisk_files(AsteriskOptions(password="p455", http_port=18088, rtp_start=20_000, rtp_end=20_999))
    assert {name: path.read_text() for name, path in written.items()} == expected
    assert not stat.S_IMODE(written["ari.conf"].stat().st_mode) & 0o007
    address = re.search(r"RINGBACK_ASTERISK=(\S+)", done.output)
    assert address is not None
    (node,) = read_addresses(address[1])
    assert (node.name, node.user, node.password) == ("127.0.0.1:18088", "ringback", "p455")


def test_the_command_makes_a_password_of_its_own(tmp_path):
    said = {run(tmp_path / name).output.replace(name, "") for name in "ab"}
    assert len(said) == 2


def test_the_command_overwrites_nothing(tmp_path):
    (tmp_path / "pjsip.conf").write_text("mine")
    done = run(tmp_path)
    assert done.exit_code == 1
    assert "pjsip.conf already" in done.output
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--rtp", "1000"], "--rtp must be FIRST-LAST, got '1000'"),
        (["--rtp", "10000-" + "9" * 5000], "--rtp must be"),
        (["--rtp", "5-6"], "--rtp: rtp_end must be at least"),
        (["--http", "x"], "--http must be HOST:PORT"),
        (["--sip", "1.2.3.4:0"], "--sip port must be 1 to 65535"),
        (["--password", "a b"], "--password must be 1 to 128 letters, digits and _ . ~ -"),
        (["--user", "[x"], "--user must be"),
    ],
)
def test_the_command_names_the_bad_option(tmp_path, options, says):
    done = run(tmp_path / "etc", *options)
    assert done.exit_code == 1
    assert says in done.output
    assert not (tmp_path / "etc").exists()
