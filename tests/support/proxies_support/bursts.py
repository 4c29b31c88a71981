"""Bursts of calls at once, by the SDK's clients and by grpcio, which is what they are compared
with.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import grpc
import grpc.aio
import numpy as np

from boxwise import AsyncClient, Client
from boxwise._image import to_tensor
from boxwise._protocol import INFER, messages
from boxwise._request import predict_request
from proxies_support.backend import BOXES, PIPELINE, checksum

CALLS = 200  # of a burst
THREADS = 64
TIMEOUT_S = 20.0
Lost: TypeAlias = "list[str]"


SIZES = (2_000, 200_000)  # of the images of a burst, in turn
IMAGES = [random.Random(number).randbytes(SIZES[number % len(SIZES)]) for number in range(CALLS)]


class OnLoop:
    """A loop that lives from burst to burst, and what it complained about."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self.complaints: list[dict[str, Any]] = []
        self._runner.get_loop().set_exception_handler(
            lambda _, context: self.complaints.append(context)
        )

    def burst(self) -> Lost:
        async def all_at_once() -> list[str | BaseException | None]:
            return await asyncio.gather(*map(self.call, IMAGES), return_exceptions=True)

        outcomes = self._runner.run(all_at_once())
        return [str(each) for each in outcomes if each is not None]

    async def call(self, image: bytes) -> str | None:
        raise NotImplementedError

    async def end(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self._runner.run(self.end())
        self._runner.close()


class Asyncio(OnLoop):
    """`AsyncClient`."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__()
        self._client = AsyncClient(url, pipeline=PIPELINE, timeout_s=TIMEOUT_S, **options)

    async def call(self, image: bytes) -> str | None:
        return _checked(await self._client.predict(image), image)

    async def end(self) -> None:
        await self._client.close()


class Threads:
    """`Client` with 64 threads."""

    def __init__(self, url: str, **options: Any) -> None:
        self._client = Client(url, pipeline=PIPELINE, timeout_s=TIMEOUT_S, **options)
        self._threads = ThreadPoolExecutor(THREADS)
        self.complaints: list[dict[str, Any]] = []

    def burst(self) -> Lost:
        calls = [self._threads.submit(self._call, image) for image in IMAGES]
        return [
            str(each) for call in calls if (each := call.exception() or call.result()) is not None
        ]

    def _call(self, image: bytes) -> str | None:
        return _checked(self._client.predict(image), image)

    def close(self) -> None:
        self._client.close()
        self._threads.shutdown()


class Grpcio(OnLoop):
    """A transport of grpcio, and no more."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._call: Any = None

    async def call(self, image: bytes) -> str | None:
        if self._call is None:
            options = [
                ("grpc.max_receive_message_length", -1),
                ("grpc.use_local_subchannel_pool", 1),
            ]
            self._channel = grpc.aio.insecure_channel(self._url, options)
            self._call = self._channel.unary_unary(INFER)
        request = b"".join(predict_request(PIPELINE, to_tensor(image), request_id=""))
        reply = messages().ModelInferResponse.FromString(
            await self._call(request, timeout=TIMEOUT_S)
        )
        found = tuple(np.frombuffer(reply.raw_output_contents[-1], np.int32))
        return None if found == checksum(image) else f"the reply is another image's: {found}"

    async def end(self) -> None:
        if self._call is not None:
            await self._channel.close()


def _checked(result: Any, image: bytes) -> str | None:
    found = result.image_size
    if found == checksum(image) and len(result) == BOXES:
        return None
    return f"the reply is another image's, or not whole: {found}, {len(result)} boxes"
