"""A client of TF Serving and of what speaks like it: KServe, gateways."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import numpy as np

from tfhf.serving.arrays import checked_inputs, concatenated, decoded
from tfhf.serving.connection import (
    Connection,
    ServedModel,
    ServedSignature,
    ServingError,
    VersionStatus,
    too_late,
    unreadable,
)
from tfhf.serving.rest_connection import RestConnection

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0  # seconds before the first retry, and before any

Result = TypeVar("Result")


class ServingClient:
    """Asks a model that TF Serving serves, over REST or gRPC.

    Inputs of any number of rows are split into requests of at most ``batch_size`` rows, which run
    in parallel; the answers come back in the order of the rows. What the server is not there for
    (``UNAVAILABLE`` or HTTP 503, and lost connections) is tried again, after pauses that double
    and vary; what it refuses is not. Threads may share a client.

    Args:
        url: Where the server is: ``http://host:8501`` or ``https://…`` for REST, with whatever
            comes before ``/v1/models``; ``grpc://host:8500``, or ``grpcs://…`` with TLS, for gRPC,
            which needs ``pip install tfhf[serving]``.
        model: The model's name in the server.
        version: Which version; default: the newest one that is served.
        label: The label of the version, in place of its number.
        batch_size: The most rows of one request; best the server's ``max_batch_size``.
        timeout: The deadline of a call, in seconds: all its requests and retries, and the time
            until a thread is free for them. Over REST, an answer that comes bit by bit may take
            longer than that to `signatures`, `status` and `is_ready`.
        retries: How often a request is tried again.
        connections: How many requests run at the same time.
        headers: What every request carries: ``{"authorization": "Bearer …"}``.
        row_format: Over REST, send ``instances`` in place of ``inputs``, as some gateways want.

    Raises:
        ImportError: gRPC is asked for, and tensorflow-serving-api is not installed.
        ValueError: ``url`` is of no known kind, both ``version`` and ``label`` are given, or a
            number makes no sense.

    Example:
        >>> client = ServingClient("http://localhost:8501", "films", retries=0)
        >>> client.is_ready()
        False
        >>> client.predict(["a joy"])["label"]  # doctest: +SKIP
        array(['positive'], dtype=object)
        >>> client.close()
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        batch_size: int = 32,
        timeout: float = 60.0,
        retries: int = 4,
        connections: int = 8,
        headers: Mapping[str, str] | None = None,
        row_format: bool = False,
    ) -> None:
        if version is not None and label is not None:
            raise ValueError(f"version={version} and label={label!r}: expected one of them at most")
        numbers = {"batch_size": batch_size, "connections": connections, "retries": retries + 1}
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name}: expected {int(name != 'retries')} at least")
        self.model = ServedModel(model, version, label)
        self.batch_size = batch_size
        self.timeout = timeout
        self.retries = retries
        self._connection = _connect(url, headers or {}, connections, row_format)
        self._signatures: dict[str, ServedSignature] = {}
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="tfhf-serving")

    def predict(
        self,
        inputs: Any,
        signature_name: str = "serving_default",
        *,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Ask a signature.

        Args:
            inputs: Input name -> array or list with an entry per row; or that of the only input.
                An input with one axis less than the signature's is the same for every row.
                Texts are str, or bytes where they are no valid Unicode.
            signature_name: The signature.
            timeout: The deadline in seconds; default: the client's.

        Returns:
            Output name -> array, with an entry per row. Strings are str; those that are no valid
            Unicode, and those of outputs whose names end in ``_bytes``, are bytes. Where requests
            are answered with arrays of different lengths, the shorter are filled up with zeros or
            empty strings.

        Raises:
            ServingError: The server is not there or refuses the inputs, or the deadline has passed.
            ValueError: The inputs do not fit the signature.
        """
        deadline = _Deadline(self.timeout if timeout is None else timeout)
        before = self._signatures.get(signature_name)
        try:
            return self._predict(inputs, signature_name, deadline)
        except (ServingError, ValueError) as error:
            if not self._is_another(signature_name, before, error, deadline):
                raise
        return self._predict(inputs, signature_name, deadline)

    async def apredict(
        self,
        inputs: Any,
        signature_name: str = "serving_default",
        *,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """As `predict`, while others run: ``outputs = await client.apredict(["a joy"])``."""
        deadline = _Deadline(self.timeout if timeout is None else timeout)
        before = self._signatures.get(signature_name)
        async with self._until(deadline):
            try:
                return await self._apredict(inputs, signature_name, deadline)
            except (ServingError, ValueError) as error:
                if not await self._in_thread(
                    self._is_another, signature_name, before, error, deadline
                ):
                    raise
            return await self._apredict(inputs, signature_name, deadline)

    def signatures(self, *, timeout: float | None = None) -> dict[str, ServedSignature]:
        """Ask which signatures the model has, and which tensors they take and give.

        Raises:
            ServingError: The server is not there, or has no such model.

        Example:
            >>> client = ServingClient("http://localhost:8501", "films")
            >>> client.signatures()["serving_default"].inputs  # doctest: +SKIP
            {'text': TensorSpec(shape=(None,), dtype=tf.string, name=None)}
        """
        deadline = _Deadline(self.timeout if timeout is None else timeout)
        return self._ask(lambda left: self._connection.signatures(self.model, left), deadline)

    async def asignatures(self, *, timeout: float | None = None) -> dict[str, ServedSignature]:
        """As `signatures`, while others run."""
        async with self._until(_Deadline(self.timeout if timeout is None else timeout)):
            return await self._in_thread(self.signatures, timeout=timeout)

    def status(self, *, timeout: float | None = None) -> list[VersionStatus]:
        """Ask which versions of the model the server knows, and whether they are served.

        Raises:
            ServingError: The server is not there, or has no such model.

        Example:
            >>> client = ServingClient("http://localhost:8501", "films")
            >>> client.status()  # doctest: +SKIP
            [VersionStatus(version=2, state='AVAILABLE', error='')]
        """
        deadline = _Deadline(self.timeout if timeout is None else timeout)
        return self._ask(lambda left: self._connection.status(self.model, left), deadline)

    async def astatus(self, *, timeout: float | None = None) -> list[VersionStatus]:
        """As `status`, while others run."""
        async with self._until(_Deadline(self.timeout if timeout is None else timeout)):
            return await self._in_thread(self.status, timeout=timeout)

    def is_ready(self, *, timeout: float = 5.0) -> bool:
        """Whether the server is there and serves the model; asked once, without retries."""
        try:
            versions = self._connection.status(self.model, timeout)
        except ServingError:
            return False
        return any(version.state == "AVAILABLE" for version in versions)

    async def ais_ready(self, *, timeout: float = 5.0) -> bool:
        """As `is_ready`, while others run."""
        try:
            async with self._until(_Deadline(timeout)):
                return await self._in_thread(self.is_ready, timeout=timeout)
        except ServingError:
            return False

    def close(self) -> None:
        """Let the server go, once what is asked is answered."""
        self._threads.shutdown()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _predict(
        self, inputs: Any, signature_name: str, deadline: "_Deadline"
    ) -> dict[str, np.ndarray]:
        signature, requests = self._requests(inputs, signature_name, deadline)
        asked = [self._threads.submit(ask, deadline) for ask in requests]
        try:
            return self._joined([future.result(deadline.left()) for future in asked], signature)
        except TimeoutError as error:
            raise too_late(self.model, deadline.timeout) from error
        finally:
            _cancel(asked)  # if one fails, the others are in vain

    async def _apredict(
        self, inputs: Any, signature_name: str, deadline: "_Deadline"
    ) -> dict[str, np.ndarray]:
        signature, requests = await self._in_thread(
            self._requests, inputs, signature_name, deadline
        )
        asked = [self._threads.submit(ask, deadline) for ask in requests]
        try:
            answers = await asyncio.gather(*map(asyncio.wrap_future, asked))
        finally:
            _cancel(asked)
        return self._joined(answers, signature)

    async def _in_thread(
        self, function: Callable[..., Result], *arguments: Any, **options: Any
    ) -> Result:
        return await asyncio.wrap_future(self._threads.submit(function, *arguments, **options))

    @asynccontextmanager
    async def _until(self, deadline: "_Deadline") -> AsyncIterator[None]:
        """Await no longer than that."""
        try:
            async with asyncio.timeout(deadline.left()):
                yield
        except TimeoutError as error:
            raise too_late(self.model, deadline.timeout) from error

    def _is_another(
        self,
        signature_name: str,
        before: ServedSignature | None,
        error: Exception,
        deadline: "_Deadline",
    ) -> bool:
        """Whether a new version has come with another signature, which an error may be due to.

        Args:
            signature_name: The signature that was asked.
            before: What was known of it before; ``None``: nothing, so it was read just now.
            error: What went wrong.
            deadline: Until when the server may be asked.
        """
        if before is None or self.model.version is not None:
            return False
        if isinstance(error, ServingError) and error.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            return False
        self._signatures = self.signatures(timeout=deadline.left())
        return self._signatures.get(signature_name) != before

    def _requests(
        self, inputs: Any, signature_name: str, deadline: "_Deadline"
    ) -> tuple[ServedSignature, list[Callable[["_Deadline"], dict[str, np.ndarray]]]]:
        """Check and split inputs; what is returned asks for a part each."""
        known = self._signatures
        if signature_name not in known:
            known = self._ask(lambda left: self._connection.signatures(self.model, left), deadline)
            self._signatures = known
        if signature_name not in known:
            raise ValueError(
                f"signature_name: {self.model} has {', '.join(sorted(known))}, "
                f"but no {signature_name!r}"
            )
        signature = known[signature_name]
        arrays, rows = checked_inputs(inputs, signature.inputs)

        def ask_for(first: int) -> Callable[["_Deadline"], dict[str, np.ndarray]]:
            part = {
                name: array[first : first + self.batch_size] if array.ndim else array
                for name, array in arrays.items()
            }
            return lambda deadline: self._ask(
                lambda left: self._connection.predict(
                    self.model, signature_name, signature, part, left
                ),
                deadline,
            )

        return signature, [ask_for(first) for first in range(0, rows, self.batch_size)]

    def _ask(self, ask: Callable[[float], Result], deadline: "_Deadline") -> Result:
        """Ask until there is an answer, or no use in asking."""
        for attempt in range(self.retries + 1):
            left = deadline.left()
            if left <= 0:
                raise too_late(self.model, deadline.timeout)
            try:
                return ask(left)
            except ServingError as error:
                if deadline.left() <= 0:
                    raise too_late(self.model, deadline.timeout) from error
                pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE) * random.uniform(0.5, 1)
                final = attempt == self.retries or pause >= deadline.left()
                if error.code != "UNAVAILABLE" or final:
                    raise
            time.sleep(pause)
        raise AssertionError  # the last attempt has returned or raised

    def _joined(
        self, answers: list[dict[str, np.ndarray]], signature: ServedSignature
    ) -> dict[str, np.ndarray]:
        """Put the rows of all answers one after the other."""
        for answer in answers:
            if missing := signature.outputs.keys() - answer:
                raise unreadable(self.model, f"it has no {', '.join(sorted(missing))}")
        return {
            name: decoded(name, concatenated([answer[name] for answer in answers], spec))
            for name, spec in signature.outputs.items()
        }


class _Deadline:
    """A moment until which something must be done."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + timeout

    def left(self) -> float:
        return self._end - time.monotonic()


def _connect(
    url: str, headers: Mapping[str, str], connections: int, row_format: bool
) -> Connection:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not parts.hostname:
        raise ValueError(
            f"url: expected http://…, https://…, grpc://… or grpcs://…, but it is {url!r}"
        )
    if parts.scheme in ("http", "https"):
        return RestConnection(url, headers, connections, row_format)
    if row_format:
        raise ValueError("row_format: gRPC has no rows; expected it with http:// or https://")
    try:
        from tfhf.serving.grpc_connection import GrpcConnection
    except ImportError as error:
        raise ImportError(
            f"{url} needs tensorflow-serving-api: pip install 'tfhf[serving]', or use the "
            "server's REST interface, http://…"
        ) from error
    return GrpcConnection(parts.netloc, headers, parts.scheme == "grpcs")


def _cancel(futures: list[Future]) -> None:
    for future in futures:
        future.cancel()
