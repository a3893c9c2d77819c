"""Why something was wished, denied, or ended: one closed set, shared by strategies, risk, logs, sweeps and tests."""

from enum import IntEnum


class Reason(IntEnum):
    """One value per cause. Below 100: strategies and outcomes; from 100: denials, one per risk rule."""

    OK = 0
    # Why a strategy holds or wishes.
    NO_SIGNAL = 1
    ENTRY_SIGNAL = 2
    EXIT_SIGNAL = 3
    EXIT_TIME = 4
    FEATURES_NOT_READY = 5
    INPUT_NOT_FINITE = 6
    # Why a trade ended.
    STOP = 10
    TAKE_PROFIT = 11
    LIQUIDATION = 12
    END_OF_DATA = 13
    REVERSAL = 14
    # Why risk closes a position that its strategy would keep.
    HOLDING_TOO_LONG = 20
    GLOBAL_STOP = 21
    # Denials.
    DATA_QUALITY = 100
    DUPLICATE_INTENT = 101
    LATCHED = 102
    DAILY_LOSS = 103
    BREAKER_WIN_RATE = 104
    BREAKER_LOSS_RUN = 105
    COOLDOWN = 106
    RATE_LIMIT_INSTRUMENT = 107
    RATE_LIMIT_STRATEGY = 108
    RATE_LIMIT_ACCOUNT = 109
    NO_STOP = 110
    KELLY_TOO_LOW = 111
    REWARD_TO_RISK = 112
    HARD_STOP = 113
    LEVERAGE_INSTRUMENT = 114
    EXPOSURE_VENUE = 115
    EXPOSURE_ACCOUNT = 116
    EXPOSURE_NET = 117
    CORRELATION = 118
    POSITIONS_TOO_MANY = 119
    INSTRUMENT_OWNED = 120
    BELOW_MINIMUM_SIZE = 121
    EQUITY_UNKNOWN = 122
    STOP_NOT_TIGHTER = 123
    LEASE_EXPIRED = 124
    APPROVAL_EXPIRED = 125
    APPROVAL_ALTERED = 126
    UNMANAGED_POSITION = 127
    POSITION_OPEN = 128
    ORDER_IN_FLIGHT = 129
    VENUE_UNHEALTHY = 130
