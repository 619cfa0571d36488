"""The carrier as a program of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ringback.farend.log import Invited, Refused, read_log
from ringback.farend.main import FarEndError, parse_listen, serve
from tests.farend.sip_caller import PATIENCE, Address, phone

pytestmark = pytest.mark.enable_socket


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ringback.farend", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, Address]]:
    program = await start("--listen", "127.0.0.1:0", *arguments)
    try:
        async with asyncio.timeout(PATIENCE):
            line = (await program.stdout.readline()).decode()
        host, port = re.fullmatch(r"far end listening on (\S+):(\d+)\n", line).groups()
        yield program, (host, int(port))
    finally:
        with contextlib.suppress(ProcessLookupError):
            program.kill()
        await program.communicate()


@pytest.mark.sip
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_takes_calls_and_stops_when_told(tmp_path: Path, number: int) -> None:
    async def main() -> None:
        log = tmp_path / "calls.jsonl"
        async with running("--log", str(log)) as (program, address):
            async with phone(address) as caller:
                await (await caller.call("49300060")).refused(486)
            program.send_signal(number)
            async with asyncio.timeout(PATIENCE):
                _, errors = await program.communicate()
            assert (program.returncode, errors) == (0, b"")
        assert [type(entry).__name__ for entry in read_log(log)] == ["Invited", "Refused", "Ended"]

    asyncio.run(main())


@pytest.mark.sip
def test_its_log_is_complete_after_kill_9(tmp_path: Path) -> None:
    async def main() -> None:
        log = tmp_path / "calls.jsonl"
        async with running("--log", str(log)) as (program, address):
            async with phone(address) as caller:
                await (await caller.call("49300060")).refused(486)
                ringing = await caller.call("49300070", headers=["X-Ringback-Call: 12"])
                await ringing.response(180)
            program.kill()
            await program.wait()
        first, refused, _, ringing_entry = read_log(log)
        assert isinstance(first, Invited)
        assert isinstance(refused, Refused)
        assert isinstance(ringing_entry, Invited)
        assert ringing_entry.call == "12"

    asyncio.run(main())


@pytest.mark.sip
def test_it_can_ask_for_a_password() -> None:
    async def main() -> None:
        async with running("--user", "robin", "--password", "x") as (_, address), phone(address) as caller:
            await (await caller.call("49300060")).refused(401)

    asyncio.run(main())


def test_a_port_in_use_is_said_in_plain_words() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            listen = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(FarEndError, match=f"cannot listen on {listen}: .*in use"):
                await serve(listen)
            program = await start("--listen", listen)
            output, errors = await asyncio.wait_for(program.communicate(), PATIENCE)
            assert (program.returncode, output) == (1, b"")
            assert re.fullmatch(rf"cannot listen on {listen}: .*in use\n", errors.decode())

    asyncio.run(main())


def test_a_log_that_cannot_be_written_is_said_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(FarEndError, match="cannot write the call log"):
        asyncio.run(serve("127.0.0.1:0", tmp_path))


@pytest.mark.parametrize(
    "text", ["", "5060", ":5060", "localhost", "host:", "host:port", "host:65536", "host:-1", "h:１"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(FarEndError, match="not an address to listen on"):
        parse_listen(text)


def test_addresses() -> None:
    assert parse_listen("0.0.0.0:5060") == ("0.0.0.0", 5060)
    assert parse_listen("[::1]:0") == ("::1", 0)
