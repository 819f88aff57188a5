"""A proxy before an S3 server: it adds latency, counts requests and plays faults.

Bytes pass unchanged, so that signatures hold: a client's endpoint is the proxy.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from held_ports import HeldPort
from storage_requests import Cut, Reply, Request, headers_of, request_of

_CHUNK = 1 << 20
_NO_BODY = {204, 304}


@dataclass
class _Fault:
    what: Reply | Cut
    when: Callable[[Request], bool]
    times: int | None
    n_played: int = 0


@dataclass
class StorageProxy:
    """Listens on a free port of 127.0.0.1 from `start` until `stop`.

    Attributes:
        server_port: of 127.0.0.1, where the server is.
        latency_seconds: each request waits so long before it goes on; others meanwhile don't.
        requests: all that were seen, in order.
    """

    server_port: int
    latency_seconds: float = 0
    requests: list[Request] = field(default_factory=list)
    _faults: list[_Fault] = field(default_factory=list)
    _port: HeldPort = field(default_factory=HeldPort)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)
    _listener: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Its own; the same through `refuse` and `accept`."""
        return self._port.number

    @property
    def endpoint(self) -> str:
        """URL for clients."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> Counter[str]:
        """How many requests of each kind were seen."""
        return Counter(request.kind for request in self.requests)

    def n_bytes(self) -> tuple[int, int]:
        """Bytes of the bodies of all requests, and of all answers."""
        seen = list(self.requests)
        return sum(r.n_bytes_in for r in seen), sum(r.n_bytes_out for r in seen)

    @contextmanager
    def failing(
        self,
        what: Reply | Cut,
        when: Callable[[Request], bool] = lambda request: True,
        times: int | None = None,
    ) -> Iterator[_Fault]:
        """Play a fault to requests until the block ends; its `n_played` tells how often.

        Args:
            what: happens to them.
            when: to which.
            times: at most; None: to each.
        """
        fault = _Fault(what, when, times)
        self._faults.append(fault)
        try:
            yield fault
        finally:
            self._faults.remove(fault)

    def start(self) -> None:
        """Listen, in a thread of its own."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self.accept()

    def stop(self) -> None:
        """End, with every connection."""
        self.refuse()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def refuse(self) -> None:
        """Close every connection, and take no new ones."""
        self._run(self._refuse())

    def accept(self) -> None:
        """Take connections, again."""
        self._run(self._accept())

    def _run(self, what: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    async def _accept(self) -> None:
        self._listener = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=_CHUNK, backlog=1000
        )

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while (head := await _head(client)) is not None:
                request = request_of(head)
                self.requests.append(request)
                await asyncio.sleep(self.latency_seconds)
                fault = self._fault_of(request)
                if isinstance(fault, Reply):
                    await self._reply(fault, request, head, client, answers)
                    continue
                if server is None:
                    server = await asyncio.open_connection(
                        "127.0.0.1", self.server_port, limit=_CHUNK
                    )
                cut = fault.after_bytes if fault else None
                if not await _exchange(request, head, (client, answers), server, cut):
                    break
        except (OSError, EOFError, asyncio.CancelledError):
            pass  # either side went away, or the proxy ends: so does the connection
        finally:
            self._connections.discard(task)
            for writer in (answers, *([server[1]] if server else [])):
                writer.transport.abort()

    async def _reply(
        self,
        reply: Reply,
        request: Request,
        head: bytes,
        client: asyncio.StreamReader,
        answers: asyncio.StreamWriter,
    ) -> None:
        """Answer in the server's place, once the whole request is there."""
        headers = headers_of(head)
        if "expect" in headers:
            answers.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async for block in _body(client, headers, is_answer=False):
            request.n_bytes_in += len(block)
        request.status = reply.status
        answers.write(reply.encoded(has_body=not head.startswith(b"HEAD")))
        await answers.drain()

    def _fault_of(self, request: Request) -> Reply | Cut | None:
        for fault in self._faults:
            if (fault.times is None or fault.n_played < fault.times) and fault.when(request):
                fault.n_played += 1
                return fault.what
        return None


@contextmanager
def storage_proxy(server_port: int, latency_seconds: float = 0) -> Iterator[StorageProxy]:
    """A started one, which ends with the block."""
    proxy = StorageProxy(server_port, latency_seconds)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


async def _exchange(
    request: Request,
    head: bytes,
    client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    cut: int | None,
) -> bool:
    """Pass a request on and its answer back; whether the connection serves for another."""
    server[1].write(head)
    sending = asyncio.create_task(_send_body(request, headers_of(head), client[0], server[1]))
    try:
        while True:
            answer = await _head(server[0])
            if answer is None:
                return False
            request.status = int(answer.split(b" ", 2)[1])
            client[1].write(answer)
            if request.status >= 200:
                break
        headers = headers_of(answer)
        if not (head.startswith(b"HEAD") or request.status in _NO_BODY):
            async for block in _body(server[0], headers, is_answer=True):
                left = len(block) if cut is None else cut - request.n_bytes_out
                client[1].write(block[:left])
                request.n_bytes_out += len(block[:left])
                await client[1].drain()
                if left < len(block):
                    client[1].close()  # what was written so far arrives
                    await client[1].wait_closed()
                    return False
        await client[1].drain()
        done = sending.done()  # an answer before the whole request ends the connection
        if not done and headers.get("connection", "").lower() != "close":
            await sending
            done = True
        return done and headers.get("connection", "").lower() != "close"
    finally:
        sending.cancel()
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await sending


async def _send_body(
    request: Request,
    headers: dict[str, str],
    client: asyncio.StreamReader,
    server: asyncio.StreamWriter,
) -> None:
    async for block in _body(client, headers, is_answer=False):
        request.n_bytes_in += len(block)
        server.write(block)
        await server.drain()


async def _head(reader: asyncio.StreamReader) -> bytes | None:
    """The first line and the headers; None at the end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], *, is_answer: bool) -> Any:
    """The bytes after the headers as they come over the wire, block by block."""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        while True:
            line = await reader.readuntil(b"\r\n")
            yield line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            yield await reader.readexactly(size + 2)
        while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
            yield line
        yield line
    elif "content-length" in headers:
        left = int(headers["content-length"])
        while left:
            block = await reader.read(min(left, _CHUNK))
            if not block:
                raise EOFError
            left -= len(block)
            yield block
    elif is_answer:
        while block := await reader.read(_CHUNK):
            yield block
