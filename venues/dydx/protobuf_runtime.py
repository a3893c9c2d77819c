"""The parts of google.protobuf used here, as Any: that package carries no types."""

import importlib
from typing import Any

AnyMessage: Any = importlib.import_module("google.protobuf.any_pb2").Any
DecodeError: Any = importlib.import_module("google.protobuf.message").DecodeError
UnknownFieldSet: Any = importlib.import_module("google.protobuf.unknown_fields").UnknownFieldSet
