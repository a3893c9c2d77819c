"""What the chain says when it refuses: codespace, code and text, as values. And the one exception of this package.

`raw_log` is made as the Cosmos SDK makes it: the wrapped detail, a colon, the registered description.
Source: PROTOCOLS.md 2.5-2.6; v4-chain x/clob/types/errors.go, x/subaccounts/types/errors.go, cosmos-sdk types/errors.
"""

from dataclasses import dataclass
from enum import Enum

CLOB = "clob"
SDK = "sdk"
SUBACCOUNTS = "subaccounts"
ACCOUNTPLUS = "accountplus"


class MalformedMessageError(ValueError):
    """Bytes or text that are not what they should be on this venue's wires."""


@dataclass(frozen=True, slots=True)
class TxRefusal:
    """A transaction the chain refuses, in the fields of `BroadcastTxResponse.tx_response`."""

    codespace: str
    code: int
    raw_log: str


class ChainError(Enum):
    """Every registered error a trader's transaction can meet: (codespace, code, description)."""

    # Cosmos SDK.
    TX_DECODE = (SDK, 2, "tx parse error")
    UNAUTHORIZED = (SDK, 4, "unauthorized")
    UNKNOWN_REQUEST = (SDK, 6, "unknown request")
    INVALID_PUB_KEY = (SDK, 8, "invalid pubkey")
    UNKNOWN_ADDRESS = (SDK, 9, "unknown address")
    MEMO_TOO_LARGE = (SDK, 12, "memo too large")
    NO_SIGNATURES = (SDK, 15, "no signatures supplied")
    INVALID_REQUEST = (SDK, 18, "invalid request")
    TX_IN_MEMPOOL = (SDK, 19, "tx already in mempool")
    MEMPOOL_FULL = (SDK, 20, "mempool is full")
    WRONG_SEQUENCE = (SDK, 32, "incorrect account sequence")
    TX_TIMEOUT_HEIGHT = (SDK, 30, "tx timeout height")
    UNKNOWN_EXTENSION = (SDK, 31, "unknown extension options")
    # Subaccounts.
    SUBACCOUNT_NUMBER = (SUBACCOUNTS, 200, "subaccount id number cannot exceed 128000")
    SUBACCOUNT_OWNER = (SUBACCOUNTS, 201, "subaccount id owner is an invalid address")
    # Accountplus.
    AUTHENTICATOR_NOT_FOUND = (ACCOUNTPLUS, 1, "Authenticator is not found")
    SMART_ACCOUNT_INACTIVE = (ACCOUNTPLUS, 4, "Smart account is not active")
    AUTHENTICATOR_SIGNATURE = (ACCOUNTPLUS, 100, "Signature verification failed")
    AUTHENTICATOR_MESSAGE_TYPE = (ACCOUNTPLUS, 101, "Message type verification failed")
    AUTHENTICATOR_CLOB_PAIR = (ACCOUNTPLUS, 102, "Clob pair id verification failed")
    AUTHENTICATOR_SUBACCOUNT = (ACCOUNTPLUS, 103, "Subaccount verification failed")
    AUTHENTICATOR_ALL_OF = (ACCOUNTPLUS, 104, "AllOf verification failed")
    AUTHENTICATOR_ANY_OF = (ACCOUNTPLUS, 105, "AnyOf verification failed")
    # Order book.
    ORDER_SIDE = (CLOB, 3, "Invalid order side")
    ORDER_QUANTUMS = (CLOB, 4, "Invalid order quantums")
    GOOD_TIL_BLOCK = (CLOB, 5, "Invalid order goodTilBlock")
    ORDER_SUBTICKS = (CLOB, 6, "Invalid order subticks")
    ORDER_IS_CANCELED = (CLOB, 7, "Attempt to place an order that is already canceled")
    INVALID_CLOB = (CLOB, 8, "ClobPair ID does not reference a valid CLOB")
    CANCEL_ALREADY_EXISTS = (
        CLOB,
        9,
        "A cancel already exists in the memclob for this order with a greater than or equal GoodTilBlock",
    )
    HEIGHT_EXCEEDS_GOOD_TIL_BLOCK = (
        CLOB,
        10,
        "The next block height is greater than the GoodTilBlock of the message",
    )
    EXCEEDS_SHORT_BLOCK_WINDOW = (
        CLOB,
        11,
        "The GoodTilBlock of the message is further than ShortBlockWindow blocks into the future",
    )
    INVALID_PLACE_ORDER = (CLOB, 12, "MsgPlaceOrder is invalid")
    MAX_OPEN_ORDERS = (CLOB, 17, "Subaccount cannot open more than 20 orders on a given CLOB and side")
    INVALID_REPLACEMENT = (CLOB, 20, "Replacing an existing order failed")
    ORDER_FULLY_FILLED = (CLOB, 24, "Order is fully filled")
    INVALID_CLOB_PARAMETER = (CLOB, 27, "Invalid ClobPair parameter")
    INVALID_STATEFUL_CANCEL = (CLOB, 29, "Invalid stateful order cancellation")
    ORDER_REPROCESSED = (
        CLOB,
        30,
        "An order with the same `OrderId` and `OrderHash` has already been processed for this CLOB",
    )
    STATEFUL_CANCEL_EXISTS = (
        CLOB,
        32,
        "Existing stateful order cancellation has higher-or-equal priority than the new one",
    )
    CONFLICTS_WITH_STATUS = (CLOB, 34, "Order conflicts with ClobPair status")
    OPERATION_CONFLICTS_WITH_STATUS = (CLOB, 36, "Operation conflicts with ClobPair status")
    UNEXPECTED_TIME_IN_FORCE = (CLOB, 42, "Unexpected time in force")
    HAS_REMAINING_SIZE = (CLOB, 43, "Order has remaining size")
    TIME_IN_FORCE = (CLOB, 44, "invalid time in force")
    INVALID_BATCH_CANCEL = (CLOB, 45, "Invalid batch cancel message")
    BATCH_CANCEL_FAILED = (CLOB, 46, "Batch cancel has failed")
    CLOB_NOT_INITIALIZED = (CLOB, 47, "CLOB has not been initialized")
    DEPRECATED_FIELD = (CLOB, 48, "This field has been deprecated")
    INVALID_BUILDER_CODE = (CLOB, 50, "Invalid builder code")
    FILL_OR_KILL_NOT_FILLED = (CLOB, 2000, "FillOrKill order could not be fully filled")
    REDUCE_ONLY_INCREASES = (CLOB, 2001, "Reduce-only orders cannot increase the position size")
    REDUCE_ONLY_CHANGES_SIDE = (CLOB, 2002, "Reduce-only orders cannot change the position side")
    POST_ONLY_CROSSES = (CLOB, 2003, "Post-only order would cross one or more maker orders")
    IOC_ALREADY_FILLED = (CLOB, 2004, "IOC order is already filled, remaining size is cancelled.")
    ISOLATED_SUBACCOUNT = (CLOB, 2005, "Order would violate isolated subaccount constraints.")
    ORDER_FLAGS = (CLOB, 3000, "Invalid order flags")
    GOOD_TIL_BLOCK_TIME = (CLOB, 3001, "Invalid order goodTilBlockTime")
    STATEFUL_IMMEDIATE = (CLOB, 3002, "Stateful orders cannot require immediate execution")
    TIME_EXCEEDS_GOOD_TIL = (CLOB, 3003, "The block time is greater than the GoodTilBlockTime of the message")
    EXCEEDS_STATEFUL_WINDOW = (
        CLOB,
        3004,
        "The GoodTilBlockTime of the message is further than StatefulOrderTimeWindow into the future",
    )
    STATEFUL_EXISTS = (CLOB, 3005, "Existing stateful order has higher-or-equal priority than the new one")
    STATEFUL_UNKNOWN = (CLOB, 3006, "Stateful order does not exist")
    STATEFUL_COLLATERAL = (CLOB, 3007, "Stateful order collateralization check failed")
    STATEFUL_CANCELED = (CLOB, 3008, "Stateful order was previously cancelled and therefore cannot be placed")
    STATEFUL_REMOVED = (CLOB, 3009, "Stateful order was previously removed and therefore cannot be placed")
    STATEFUL_CANCEL_OF_REMOVED = (
        CLOB,
        3010,
        "Stateful order cancellation failed because the order was already removed from state",
    )
    BLOCK_RATE_LIMIT = (CLOB, 5001, "Block rate limit exceeded")
    CONDITION_TYPE = (CLOB, 6000, "Conditional type is invalid")
    TRIGGER_SUBTICKS = (CLOB, 6001, "Conditional order trigger subticks is invalid")
    UNTRIGGERED = (CLOB, 6002, "Conditional order is untriggered")
    REDUCE_ONLY_DISABLED = (CLOB, 9003, "Reduce-only is currently disabled for non-IOC orders")
    EQUITY_TIER = (CLOB, 10001, "Subaccount cannot open more orders due to equity tier limit.")

    @property
    def codespace(self) -> str:
        """The module that registered the error."""
        return self.value[0]

    @property
    def code(self) -> int:
        """Its number within the codespace."""
        return self.value[1]

    @property
    def description(self) -> str:
        """Its registered text."""
        return self.value[2]

    def refuse(self, detail: str = "") -> TxRefusal:
        """Return the refusal, wrapped in a detail as the chain wraps it.

        >>> ChainError.WRONG_SEQUENCE.refuse("account sequence mismatch, expected 3, got 1").raw_log
        'account sequence mismatch, expected 3, got 1: incorrect account sequence'
        """
        text = f"{detail}: {self.description}" if detail else self.description
        return TxRefusal(self.codespace, self.code, text)


_BY_CODE = {(error.codespace, error.code): error for error in ChainError}


def find_error(codespace: str, code: int) -> ChainError | None:
    """Return the registered error of that codespace and code; None: not one known here.

    >>> find_error("clob", 3006)
    <ChainError.STATEFUL_UNKNOWN: ('clob', 3006, 'Stateful order does not exist')>
    """
    return _BY_CODE.get((codespace, code))
