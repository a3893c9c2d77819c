"""Orders and cancels as records, and the same as the chain's protobuf. Plain integers, as they are on the wire.

Enum fields stay integers, so that a value nobody knew survives decoding and is refused by `rules`, as on the chain.
Does not cover: TWAP parameters and the order router's address, which v4-proto 8.2.0 does not know either; such fields
come out by number in `extra_fields` and are neither lost from the signed bytes nor interpreted.
"""

import hashlib
import uuid
from enum import IntEnum
from typing import Any

import msgspec
from google.protobuf.unknown_fields import UnknownFieldSet
from v4_proto.dydxprotocol.clob import order_pb2, tx_pb2
from v4_proto.dydxprotocol.subaccounts import subaccount_pb2

SHORT_TERM = 0
CONDITIONAL = 32
LONG_TERM = 64
TWAP = 128
STATEFUL_FLAGS = (CONDITIONAL, LONG_TERM, TWAP)

PLACE_ORDER_URL = "/dydxprotocol.clob.MsgPlaceOrder"
CANCEL_ORDER_URL = "/dydxprotocol.clob.MsgCancelOrder"
BATCH_CANCEL_URL = "/dydxprotocol.clob.MsgBatchCancel"

INDEXER_NAMESPACE = uuid.UUID("0f9da948-a6fb-4c45-9edc-4685c3f3317d")


class Side(IntEnum):
    """`Order.Side`."""

    UNSPECIFIED = 0
    BUY = 1
    SELL = 2


class TimeInForce(IntEnum):
    """`Order.TimeInForce`."""

    UNSPECIFIED = 0
    IOC = 1
    POST_ONLY = 2
    FILL_OR_KILL = 3


class ConditionType(IntEnum):
    """`Order.ConditionType`."""

    UNSPECIFIED = 0
    STOP_LOSS = 1
    TAKE_PROFIT = 2


class SubaccountId(msgspec.Struct, frozen=True):
    """Who trades: an address and the number of one of its subaccounts."""

    owner: str
    number: int = 0


class OrderId(msgspec.Struct, frozen=True):
    """What makes an order unique on the chain."""

    subaccount: SubaccountId
    client_id: int
    order_flags: int = SHORT_TERM
    clob_pair_id: int = 0

    @property
    def is_short_term(self) -> bool:
        """Whether it lives in the nodes' memory only, until its good-til-block."""
        return self.order_flags == SHORT_TERM

    @property
    def is_stateful(self) -> bool:
        """Whether it lives in the chain's state, until its good-til-block-time."""
        return self.order_flags in STATEFUL_FLAGS


class Order(msgspec.Struct, frozen=True):
    """One order. Exactly one of the two good-tils counts; 0 where not set, as in protobuf."""

    order_id: OrderId
    side: int
    quantums: int
    subticks: int
    good_til_block: int = 0
    good_til_block_time_s: int = 0
    time_in_force: int = TimeInForce.UNSPECIFIED
    is_reduce_only: bool = False
    client_metadata: int = 0
    condition_type: int = ConditionType.UNSPECIFIED
    trigger_subticks: int = 0
    builder_address: str = ""
    builder_fee_ppm: int = 0
    has_builder_code: bool = False
    extra_fields: tuple[int, ...] = ()

    @property
    def is_immediate(self) -> bool:
        """Whether it never rests."""
        return self.time_in_force in (TimeInForce.IOC, TimeInForce.FILL_OR_KILL)


class PlaceOrder(msgspec.Struct, frozen=True, tag=True):
    """`MsgPlaceOrder`."""

    order: Order

    @property
    def owner(self) -> str:
        """The address that must have signed."""
        return self.order.order_id.subaccount.owner


class CancelOrder(msgspec.Struct, frozen=True, tag=True):
    """`MsgCancelOrder`."""

    order_id: OrderId
    good_til_block: int = 0
    good_til_block_time_s: int = 0

    @property
    def owner(self) -> str:
        """The address that must have signed."""
        return self.order_id.subaccount.owner


class CancelBatch(msgspec.Struct, frozen=True):
    """The client ids to cancel on one book."""

    clob_pair_id: int
    client_ids: tuple[int, ...]


class BatchCancel(msgspec.Struct, frozen=True, tag=True):
    """`MsgBatchCancel`: short-term orders of one subaccount."""

    subaccount: SubaccountId
    batches: tuple[CancelBatch, ...]
    good_til_block: int

    @property
    def owner(self) -> str:
        """The address that must have signed."""
        return self.subaccount.owner


class UnsupportedMessage(msgspec.Struct, frozen=True, tag=True):
    """A message that this package names and does not read: transfers, governance, whatever comes."""

    type_url: str
    value: bytes


ChainMessage = PlaceOrder | CancelOrder | BatchCancel | UnsupportedMessage


def is_short_term_message(message: ChainMessage) -> bool:
    """Return whether good-til-block alone protects it against replay (no sequence is looked at)."""
    match message:
        case PlaceOrder():
            return message.order.order_id.is_short_term
        case CancelOrder():
            return message.order_id.is_short_term
        case BatchCancel():
            return True
        case UnsupportedMessage():
            return False


def _read_subaccount(proto: Any) -> SubaccountId:
    return SubaccountId(proto.owner, proto.number)


def _read_order_id(proto: Any) -> OrderId:
    return OrderId(_read_subaccount(proto.subaccount_id), proto.client_id, proto.order_flags, proto.clob_pair_id)


def _read_order(proto: Any) -> Order:
    has_builder_code = proto.HasField("builder_code_parameters")
    return Order(
        order_id=_read_order_id(proto.order_id),
        side=proto.side,
        quantums=proto.quantums,
        subticks=proto.subticks,
        good_til_block=proto.good_til_block,
        good_til_block_time_s=proto.good_til_block_time,
        time_in_force=proto.time_in_force,
        is_reduce_only=proto.reduce_only,
        client_metadata=proto.client_metadata,
        condition_type=proto.condition_type,
        trigger_subticks=proto.conditional_order_trigger_subticks,
        builder_address=proto.builder_code_parameters.builder_address if has_builder_code else "",
        builder_fee_ppm=proto.builder_code_parameters.fee_ppm if has_builder_code else 0,
        has_builder_code=has_builder_code,
        extra_fields=tuple(field.field_number for field in UnknownFieldSet(proto)),
    )


def read_message(type_url: str, value: bytes) -> ChainMessage:
    """Return the record of one packed message; of a kind not covered, an `UnsupportedMessage`.

    Raises: google.protobuf.message.DecodeError (caught by `transactions.decode_tx`) if `value` is not that message.
    """
    if type_url == PLACE_ORDER_URL:
        return PlaceOrder(_read_order(tx_pb2.MsgPlaceOrder.FromString(value).order))
    if type_url == CANCEL_ORDER_URL:
        cancel = tx_pb2.MsgCancelOrder.FromString(value)
        return CancelOrder(_read_order_id(cancel.order_id), cancel.good_til_block, cancel.good_til_block_time)
    if type_url == BATCH_CANCEL_URL:
        batch = tx_pb2.MsgBatchCancel.FromString(value)
        batches = tuple(CancelBatch(one.clob_pair_id, tuple(one.client_ids)) for one in batch.short_term_cancels)
        return BatchCancel(_read_subaccount(batch.subaccount_id), batches, batch.good_til_block)
    return UnsupportedMessage(type_url, value)


def _write_subaccount(subaccount: SubaccountId) -> Any:
    return subaccount_pb2.SubaccountId(owner=subaccount.owner, number=subaccount.number)


def _write_order_id(order_id: OrderId) -> Any:
    return order_pb2.OrderId(
        subaccount_id=_write_subaccount(order_id.subaccount),
        client_id=order_id.client_id,
        order_flags=order_id.order_flags,
        clob_pair_id=order_id.clob_pair_id,
    )


def _good_til(good_til_block: int, good_til_block_time_s: int) -> dict[str, int]:
    # A oneof: both set keeps the last, so the one that counts is chosen here.
    if good_til_block and good_til_block_time_s:
        raise ValueError("an order or cancel has a good-til-block or a good-til-block-time, not both")
    if good_til_block_time_s:
        return {"good_til_block_time": good_til_block_time_s}
    return {"good_til_block": good_til_block} if good_til_block else {}


def write_order(order: Order) -> Any:
    """Return the order as protobuf.

    Raises: ValueError if a number does not fit its field, both good-tils are set, or `extra_fields` are not empty.
    """
    if order.extra_fields:
        raise ValueError(f"order has fields {order.extra_fields} that are not covered: send the bytes it came in")
    builder = {}
    if order.has_builder_code:
        builder["builder_code_parameters"] = order_pb2.BuilderCodeParameters(
            builder_address=order.builder_address, fee_ppm=order.builder_fee_ppm
        )
    return order_pb2.Order(
        order_id=_write_order_id(order.order_id),
        side=order.side,
        quantums=order.quantums,
        subticks=order.subticks,
        time_in_force=order.time_in_force,
        reduce_only=order.is_reduce_only,
        client_metadata=order.client_metadata,
        condition_type=order.condition_type,
        conditional_order_trigger_subticks=order.trigger_subticks,
        **_good_til(order.good_til_block, order.good_til_block_time_s),
        **builder,
    )


def write_message(message: ChainMessage) -> tuple[str, bytes]:
    """Return a message's type url and its protobuf bytes.

    Raises: ValueError if a number does not fit its field.
    """
    match message:
        case PlaceOrder():
            return PLACE_ORDER_URL, tx_pb2.MsgPlaceOrder(order=write_order(message.order)).SerializeToString()
        case CancelOrder():
            good_til = _good_til(message.good_til_block, message.good_til_block_time_s)
            cancel = tx_pb2.MsgCancelOrder(order_id=_write_order_id(message.order_id), **good_til)
            return CANCEL_ORDER_URL, cancel.SerializeToString()
        case BatchCancel():
            batches = [
                tx_pb2.OrderBatch(clob_pair_id=one.clob_pair_id, client_ids=one.client_ids) for one in message.batches
            ]
            batch = tx_pb2.MsgBatchCancel(
                subaccount_id=_write_subaccount(message.subaccount),
                short_term_cancels=batches,
                good_til_block=message.good_til_block,
            )
            return BATCH_CANCEL_URL, batch.SerializeToString()
        case UnsupportedMessage():
            return message.type_url, message.value


def hash_order(order: Order) -> bytes:
    """Return the chain's order hash: sha256 of the order's protobuf."""
    return hashlib.sha256(write_order(order).SerializeToString()).digest()


def subaccount_uuid(subaccount: SubaccountId) -> str:
    """Return the Indexer's id of a subaccount; known before anything is sent."""
    return str(uuid.uuid5(INDEXER_NAMESPACE, f"{subaccount.owner}-{subaccount.number}"))


def order_uuid(order_id: OrderId) -> str:
    """Return the Indexer's id of an order; known before it is sent.

    >>> order_uuid(OrderId(SubaccountId("dydx1wldnytkerzs39rs28djn0p9vvqer2x2k5x8hjy"), 1))
    'fceca467-ce22-5b23-bb56-d4265a82a48b'
    """
    name = f"{subaccount_uuid(order_id.subaccount)}-{order_id.client_id}-{order_id.clob_pair_id}-{order_id.order_flags}"
    return str(uuid.uuid5(INDEXER_NAMESPACE, name))


def derive_client_id(client_order_id: str) -> int:
    """Return the uint32 client id of one of our ids: the same always, so that it survives a restart.

    Two ids of ours meet on one client id once in 4 billion; the chain then refuses or replaces: look before sending.
    """
    return int.from_bytes(hashlib.sha256(client_order_id.encode()).digest()[:4], "big")


def show_order_id(order_id: OrderId) -> str:
    """Return the order id as Go's %+v prints it in raw_log texts."""
    subaccount = order_id.subaccount
    return (
        f"{{SubaccountId:{{Owner:{subaccount.owner} Number:{subaccount.number}}} ClientId:{order_id.client_id}"
        f" OrderFlags:{order_id.order_flags} ClobPairId:{order_id.clob_pair_id}}}"
    )


def show_order(order: Order) -> str:
    """Return an order much as Go prints it in raw_log texts (there the good-til is a pointer, different each time)."""
    good_til = order.good_til_block or order.good_til_block_time_s
    return (
        f"{{OrderId:{show_order_id(order.order_id)} Side:{order.side} Quantums:{order.quantums}"
        f" Subticks:{order.subticks} GoodTilOneof:{good_til} TimeInForce:{order.time_in_force}"
        f" ReduceOnly:{str(order.is_reduce_only).lower()} ClientMetadata:{order.client_metadata}"
        f" ConditionType:{order.condition_type} ConditionalOrderTriggerSubticks:{order.trigger_subticks}}}"
    )
