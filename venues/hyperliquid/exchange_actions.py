"""What /exchange is sent: every action the official SDK and ccxt send, and the signed envelope around it.

The simulator's side is `decode_exchange_request`: the typed action beside the very JSON that was signed (`plain`, key
order kept: signatures are over it), or the HTTP refusal of the venue as a value. The client's side builds an action,
signs `wire.to_plain(action)` (venues.hyperliquid.signing) and writes `encode_exchange_request`.
Numbers in actions are text: exactly what was hashed. Make them with `wire.format_action`, read them with
`wire.parse_number`. Field names are the wire's single letters behind plain names.

Does not cover: multi-signature, deployment, validator and EVM actions: they come out as `UnknownAction`.
"""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from venues.hyperliquid import info_requests, wire
from venues.hyperliquid.wire import ActionNumber, Address, Cloid, HttpReply, Record, Unsigned

GROUPINGS = ("na", "normalTpsl", "positionTpsl")
USD_DECIMALS = 6  # of `ntli` and `usd` in actions


class Signature(msgspec.Struct, frozen=True):
    """A signature as sent: the SDK drops leading zeros of `r` and `s`; pad before use."""

    r: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{1,64}\Z")]
    s: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{1,64}\Z")]
    v: Annotated[int, msgspec.Meta(ge=0, le=255)]


class LimitTerms(Record, frozen=True):
    """`tif` "Gtc", "Ioc", "Alo" (post only); ccxt and the web site also send "FrontendMarket"."""

    tif: str


class TriggerTerms(Record, frozen=True):
    """A stop ("sl") or take-profit ("tp"); at market, its order's px still bounds the slippage."""

    is_market: bool
    trigger_px: ActionNumber
    tpsl: str


class Terms(Record, frozen=True):
    """One of both, as the venue's `t`."""

    limit: LimitTerms | UnsetType = UNSET
    trigger: TriggerTerms | UnsetType = UNSET


class WireOrder(
    msgspec.Struct,
    frozen=True,
    rename={"asset": "a", "is_buy": "b", "px": "p", "sz": "s", "is_reduce_only": "r", "terms": "t", "cloid": "c"},
):
    """One order."""

    asset: Unsigned
    is_buy: bool
    px: ActionNumber
    sz: ActionNumber
    is_reduce_only: bool
    terms: Terms
    cloid: Cloid | UnsetType | None = UNSET


class Builder(msgspec.Struct, frozen=True, rename={"address": "b", "fee": "f"}):
    """Who gets a fee on top, in tenths of a basis point."""

    address: Address
    fee: Unsigned


class Priority(msgspec.Struct, frozen=True, rename={"priority": "p"}):
    """A grouping that is a bid for priority."""

    priority: Unsigned


class Action(Record, frozen=True, tag_field="type"):
    """Base of all actions."""


class UserSigned(Action, frozen=True):
    """Base of the actions that the user's own key signs under the user domain; agents may not."""


class PlaceOrders(Action, frozen=True, tag="order"):
    """Orders; `grouping` "na", "normalTpsl" (first is the parent), "positionTpsl"."""

    orders: tuple[WireOrder, ...]
    grouping: str | Priority = "na"
    builder: Builder | UnsetType | None = UNSET


class Cancel(msgspec.Struct, frozen=True, rename={"asset": "a", "oid": "o"}):
    """One order by the venue's id."""

    asset: Unsigned
    oid: Unsigned


class CancelOrders(Action, frozen=True, tag="cancel"):
    """Cancel by the venue's ids."""

    cancels: tuple[Cancel, ...]


class CloidCancel(Record, frozen=True):
    """One order by the client's id."""

    asset: Unsigned
    cloid: Cloid


class CancelByCloid(Action, frozen=True, tag="cancelByCloid"):
    """Cancel by the client's ids."""

    cancels: tuple[CloidCancel, ...]


class Modify(Record, frozen=True):
    """Replace one order, by either id: a new venue id, the same client id."""

    oid: Unsigned | Cloid
    order: WireOrder


class ModifyOrders(Action, frozen=True, tag="batchModify"):
    """Replace orders."""

    modifies: tuple[Modify, ...]


class ModifyOrder(Action, frozen=True, tag="modify"):
    """Replace one order: the older form, which the SDK never sends. Its reply is "default" or one error."""

    oid: Unsigned | Cloid
    order: WireOrder


class UpdateLeverage(Action, frozen=True, tag="updateLeverage"):
    """Set leverage and margin mode of one asset."""

    asset: Unsigned
    is_cross: bool
    leverage: Unsigned


class UpdateIsolatedMargin(Action, frozen=True, tag="updateIsolatedMargin"):
    """Add (or take, below 0) money [1e-6 USD] to an isolated position."""

    asset: Unsigned
    is_buy: bool
    ntli: int


class ScheduleCancel(Action, frozen=True, tag="scheduleCancel"):
    """Cancel everything at a time [ms]; without a time, forget it."""

    time: Unsigned | UnsetType | None = UNSET


class Noop(Action, frozen=True, tag="noop"):
    """Burn the nonce."""


class SetReferrer(Action, frozen=True, tag="setReferrer"):
    """Name who referred the user; ccxt sends it unasked."""

    code: str


class CreateSubAccount(Action, frozen=True, tag="createSubAccount"):
    """Open a sub-account."""

    name: str


class SubAccountTransfer(Action, frozen=True, tag="subAccountTransfer"):
    """Move money [1e-6 USD] to or from a sub-account."""

    sub_account_user: Address
    is_deposit: bool
    usd: Unsigned


class VaultTransfer(Action, frozen=True, tag="vaultTransfer"):
    """Move money [1e-6 USD] to or from a vault."""

    vault_address: Address
    is_deposit: bool
    usd: Unsigned


class AgentSetAbstraction(Action, frozen=True, tag="agentSetAbstraction"):
    """Join balances, asked by an agent: "u", "p" or "i"."""

    abstraction: str


class ApproveAgent(UserSigned, frozen=True, tag="approveAgent"):
    """Let a key sign for the user. The unnamed agent is signed with the name "", then sent without."""

    agent_address: Address
    nonce: Unsigned
    agent_name: str | UnsetType | None = UNSET


class ApproveBuilderFee(UserSigned, frozen=True, tag="approveBuilderFee"):
    """Allow a builder a fee, such as "0.01%"."""

    max_fee_rate: str
    builder: Address
    nonce: Unsigned


class SendUsd(UserSigned, frozen=True, tag="usdSend"):
    """Send USDC to another user."""

    destination: Address
    amount: str
    time: Unsigned


class SendSpot(UserSigned, frozen=True, tag="spotSend"):
    """Send a token to another user."""

    destination: Address
    token: str
    amount: str
    time: Unsigned


class Withdraw(UserSigned, frozen=True, tag="withdraw3"):
    """Withdraw over the bridge."""

    destination: Address
    amount: str
    time: Unsigned


class TransferUsdClass(UserSigned, frozen=True, tag="usdClassTransfer"):
    """Move USDC between spot and perpetuals; `amount` may end in " subaccount:0x..." """

    amount: str
    to_perp: bool
    nonce: Unsigned


class SendAsset(UserSigned, frozen=True, tag="sendAsset"):
    """Move a token between dexes and users."""

    destination: Address
    source_dex: str
    destination_dex: str
    token: str
    amount: str
    from_sub_account: str
    nonce: Unsigned


class SetUserAbstraction(UserSigned, frozen=True, tag="userSetAbstraction"):
    """Join balances."""

    user: Address
    abstraction: str
    nonce: Unsigned


class SetUserDexAbstraction(UserSigned, frozen=True, tag="userDexAbstraction"):
    """Join balances over dexes."""

    user: Address
    enabled: bool
    nonce: Unsigned


class Delegate(UserSigned, frozen=True, tag="tokenDelegate"):
    """Stake with a validator."""

    validator: Address
    wei: Unsigned
    is_undelegate: bool
    nonce: Unsigned


class UnknownAction(msgspec.Struct, frozen=True):
    """An action whose type is not covered here; the envelope still holds its JSON, so its signer can be told."""

    type: str


class SignedAction(msgspec.Struct, frozen=True):
    """The envelope. ccxt leaves out `vault_address` and `expires_after`: absent and null mean the same here."""

    action: Action | UnknownAction
    plain: dict[str, Any]  # the action as parsed, key order kept: what was signed
    nonce: int
    signature: Signature
    vault_address: str | None = None
    expires_after: int | None = None


class _Envelope(Record, frozen=True):
    action: dict[str, Any]
    nonce: Unsigned
    signature: Signature
    vault_address: Address | None = None
    expires_after: Unsigned | None = None


def _list_actions() -> tuple[type[Action], ...]:
    direct = [kind for kind in Action.__subclasses__() if kind is not UserSigned]
    return (*direct, *UserSigned.__subclasses__())


ACTIONS: dict[str, type[Action]] = {str(kind.__struct_config__.tag): kind for kind in _list_actions()}


def decode_exchange_request(body: bytes, content_type: str = wire.JSON_TYPE) -> SignedAction | HttpReply:
    """Return the signed action in a POST body, or the refusal the venue answers with. Raises nothing."""
    if content_type.partition(";")[0].strip().lower() != wire.JSON_TYPE:
        return info_requests.WRONG_CONTENT_TYPE
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return info_requests.NOT_JSON
    return read_exchange_request(plain) or info_requests.WRONG_FIELDS


def read_exchange_request(plain: object) -> SignedAction | None:
    """Return the signed action in parsed JSON (a WebSocket post carries one), None if it is not one."""
    try:
        envelope = msgspec.convert(plain, _Envelope)
        action = read_action(envelope.action)
    except (msgspec.ValidationError, UnicodeError, RecursionError):
        return None
    if action is None:
        return None
    return SignedAction(
        action, envelope.action, envelope.nonce, envelope.signature, envelope.vault_address, envelope.expires_after
    )


def read_action(plain: dict[str, Any]) -> Action | UnknownAction | None:
    """Return the typed action, UnknownAction for a type not covered, None if it has no type or wrong fields."""
    tag = plain.get("type")
    if not isinstance(tag, str):
        return None
    kind = ACTIONS.get(tag)
    if kind is None:
        return UnknownAction(tag)
    try:
        action = msgspec.convert(plain, kind)
    except (msgspec.ValidationError, UnicodeError, RecursionError):
        return None
    if isinstance(action, PlaceOrders) and isinstance(action.grouping, str) and action.grouping not in GROUPINGS:
        return None
    return action if all(_has_terms(order) for order in list_orders(action)) else None


def _has_terms(order: WireOrder) -> bool:
    limit, trigger = order.terms.limit, order.terms.trigger
    if isinstance(limit, UnsetType) == isinstance(trigger, UnsetType):
        return False
    if not isinstance(limit, UnsetType):
        return limit.tif in ("Gtc", "Ioc", "Alo", "FrontendMarket")
    return not isinstance(trigger, UnsetType) and trigger.tpsl in ("tp", "sl")


def list_orders(action: Action | UnknownAction) -> tuple[WireOrder, ...]:
    """Return the orders in an action, in their order; () if it carries none."""
    match action:
        case PlaceOrders():
            return action.orders
        case ModifyOrders():
            return tuple(modify.order for modify in action.modifies)
        case ModifyOrder():
            return (action.order,)
        case _:
            return ()


def count_requests(action: Action | UnknownAction) -> int:
    """Return how many of the address's requests an action uses: one per order or cancel in it."""
    match action:
        case CancelOrders() | CancelByCloid():
            return max(1, len(action.cancels))
        case _:
            return max(1, len(list_orders(action)))


def compute_weight(action: Action | UnknownAction) -> int:
    """Return what an action costs of the address's 1200 weight per minute."""
    return 1 + count_requests(action) // 40


def envelope_to_plain(signed: SignedAction) -> dict[str, Any]:
    """Return the envelope as JSON values: the body of a POST, or the payload of a WebSocket post."""
    return {
        "action": signed.plain,
        "nonce": signed.nonce,
        "signature": msgspec.to_builtins(signed.signature),
        "vaultAddress": signed.vault_address,
        "expiresAfter": signed.expires_after,
    }


def encode_exchange_request(signed: SignedAction) -> bytes:
    """Return the body to POST to /exchange."""
    return wire.encode(envelope_to_plain(signed))


def limit_order(
    asset: int, is_buy: bool, px: str, sz: str, tif: str, *, is_reduce_only: bool = False, cloid: str | None = None
) -> WireOrder:
    """Return a limit order; `tif` "Gtc", "Ioc" or "Alo"."""
    terms = Terms(limit=LimitTerms(tif))
    return WireOrder(asset, is_buy, px, sz, is_reduce_only, terms, UNSET if cloid is None else cloid)


def trigger_order(
    asset: int,
    is_buy: bool,
    px: str,
    sz: str,
    trigger_px: str,
    tpsl: str,
    *,
    is_market: bool = True,
    is_reduce_only: bool = True,
    cloid: str | None = None,
) -> WireOrder:
    """Return a stop ("sl") or take-profit ("tp") order; at market `px` is the worst px it may get."""
    terms = Terms(trigger=TriggerTerms(is_market, trigger_px, tpsl))
    return WireOrder(asset, is_buy, px, sz, is_reduce_only, terms, UNSET if cloid is None else cloid)
