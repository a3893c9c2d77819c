"""The node's gRPC methods by name: what its RPC port (`abci_query`) and its LCD call besides the gRPC server itself.

`MethodTable` is registered like a server. LCD paths are those of the methods' own `google.api.http` annotations, and
their JSON is the gateway's: names as in the proto files, 64-bit numbers as strings, defaults written out.
Does not cover: streams, pagination (every answer is whole), null for messages that are left out.
"""

import base64
import inspect
import re
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError

_INTEGERS = frozenset({"quantums", "funding_index", "open_interest", "usd_tnc_required"})  # the chain's SerializableInt
_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


class RpcStatusError(Exception):
    """A call that ended with a gRPC status."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code, self.details = code, details
        self.http_status = _HTTP_STATUS.get(code, 500)  # that the gateway makes of it

    @property
    def number(self) -> int:
        """The status' number."""
        return int(self.code.value[0])

    def show(self) -> str:
        """Return it as the node's own log words it."""
        name = "".join(part.capitalize() for part in self.code.name.split("_"))
        return f"rpc error: code = {name} desc = {self.details}"


class _Context:
    """What a servicer needs of its context."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> None:
        raise RpcStatusError(code, details)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Before a generated servicer raises NotImplementedError."""

    def set_details(self, details: str) -> None:
        """Before a generated servicer raises NotImplementedError."""


class MethodTable:
    """Every unary method of the node."""

    def __init__(self) -> None:
        self._handlers: dict[str, Any] = {}
        self._routes: list[tuple[str, re.Pattern[str], str, bool]] = []  # verb, path, method, whether it has a body

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        """Ignore what `add_registered_method_handlers` brings by name."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Take a service's methods, as a gRPC server does."""
        descriptor = descriptor_pool.Default().FindServiceByName(service)
        for name, handler in handlers.items():
            path = f"/{service}/{name}"
            self._handlers[path] = handler
            for field, rule in descriptor.methods_by_name[name].GetOptions().ListFields():
                if field.name == "http":
                    template = rule.get or rule.post
                    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(template))
                    self._routes.append(("GET" if rule.get else "POST", re.compile(pattern), path, bool(rule.body)))
        self._routes.sort(key=lambda route: "(?P<" in route[1].pattern)  # whole names come before any name

    async def call(self, path: str, data: bytes) -> bytes:
        """Call a method with a serialized request; return the serialized reply. Raises RpcStatusError."""
        handler = self._handlers.get(path)
        if handler is None or handler.unary_unary is None:
            raise RpcStatusError(grpc.StatusCode.UNIMPLEMENTED, f"unknown method {path}")
        try:
            request = handler.request_deserializer(data)
        except DecodeError:
            raise RpcStatusError(grpc.StatusCode.INVALID_ARGUMENT, f"{path}: the request does not parse") from None
        reply = await self._run(handler, request, path)
        written: bytes = handler.response_serializer(reply)
        return written

    async def _run(self, handler: Any, request: Any, path: str) -> Any:
        try:
            reply = handler.unary_unary(request, _Context())
            return await reply if inspect.isawaitable(reply) else reply
        except NotImplementedError:
            raise RpcStatusError(grpc.StatusCode.UNIMPLEMENTED, f"method {path} not implemented") from None

    async def call_http(self, verb: str, path: str, query: Mapping[str, str], body: Any) -> dict[str, Any]:
        """Answer an LCD request as the gateway would. Raises RpcStatusError."""
        for known_verb, pattern, method, has_body in self._routes:
            found = pattern.fullmatch(path) if known_verb == verb else None
            if found is None:
                continue
            fields = dict(body) if has_body and isinstance(body, dict) else {}
            fields |= {name: text for name, text in query.items() if "." not in name and not has_body}
            fields |= found.groupdict()
            handler = self._handlers[method]
            try:
                request = ParseDict(fields, handler.request_deserializer(b""), ignore_unknown_fields=True)
            except (ParseError, ValueError, TypeError) as error:
                raise RpcStatusError(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from None
            return show_message(await self._run(handler, request, method))
        raise RpcStatusError(grpc.StatusCode.UNIMPLEMENTED, "Not Implemented")


def show_message(message: Any) -> dict[str, Any]:
    """Return the gateway's JSON of a message."""
    plain: dict[str, Any] = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return {name: _show_value(name, value) for name, value in plain.items()}


def _show_value(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _show_value(key, one) for key, one in value.items()}
    if isinstance(value, list):
        return [_show_value(name, one) for one in value]
    if name in _INTEGERS and isinstance(value, str) and not value.isdecimal():
        return str(_read_integer(base64.b64decode(value)))
    return value


def _read_integer(data: bytes) -> int:
    magnitude = int.from_bytes(data[1:], "big")
    return -magnitude if data[:1] == b"\x03" else magnitude
