"""A TCP connection's way from one part to another, which can be slow, cut or silent."""

import asyncio
import socket
import threading
from contextlib import suppress
from typing import Final
from typing import Literal

Mood = Literal["open", "slow", "reset", "silent"]
SLOW_S: Final = 0.3
CHUNK: Final = 1 << 16


class Wire:
    """Listens on a free port of loopback and forwards to another one.

    Args:
        port: to which it leads.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self.mood: Mood = "open"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._writers: set[asyncio.StreamWriter] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def set(self, mood: Mood) -> None:
        """From now on; what goes on is reset when connections are cut."""
        self.mood = mood
        if mood == "reset":
            self._loop.call_soon_threadsafe(self._cut)

    def close(self) -> None:
        """Cut everything and stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, sock=self._listener)
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._cut()
        await asyncio.sleep(0.1)  # what was aborted is closed by the loop

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._lead(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mood == "reset":
            return
        with suppress(OSError):
            there, back = await asyncio.open_connection("127.0.0.1", self._upstream)
            self._writers.add(back)
            try:
                await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
            finally:
                self._writers.discard(back)
                back.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                while self.mood == "silent":
                    await asyncio.sleep(0.05)
                if self.mood == "slow":
                    await asyncio.sleep(SLOW_S)
                writer.write(data)
                await writer.drain()
        with suppress(OSError, RuntimeError):
            writer.write_eof()
