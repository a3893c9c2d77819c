"""What the Hyperliquid simulator answers to /info: every reply from the market's and the ledger's state of the moment.

`InfoDesk.answer(request)` returns a reply record, plain values for requests without one, or the venue's HTTP refusal.
Fills that one crossing order made at one time are joined where `aggregateByTime` asks for it.
Does not model: spot markets (USDC is the only token), builder dexes, and what `simulator_absent` answers for; the
history behind `portfolio` (the present value only); months as candle intervals.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from msgspec import UNSET

from market.records import NS_PER_MS
from venues.hyperliquid import info_replies as rows
from venues.hyperliquid import info_requests as ask
from venues.hyperliquid import rules, wire
from venues.hyperliquid.simulator_absent import (
    PLAIN_REPLIES,
    describe_auction,
    describe_fee_schedule,
    describe_referral,
    describe_token,
)
from venues.hyperliquid.simulator_accounts import (
    BASE_COSTS,
    HOUSE_ADDRESSES,
    REQUESTS_INITIAL,
    AccountBook,
    Ledger,
    OrderRecord,
    Registry,
    average_px,
    make_hash,
    money,
)
from venues.hyperliquid.wire import HttpReply
from venues.simulator.candles import Candle
from venues.simulator.house import PublicTrade
from venues.simulator.shell import World

LEVELS_MAX, FAST_LEVELS_MAX = 20, 5
TRADES_RECENT = 50
_ROWS_MAX, _FILLS_MAX, _CANDLES_MAX = 500, 2000, 5000
_LEVELS_SEEN = 2000  # of a book, when levels are joined
_MINUTE_NS = 60_000_000_000
INTERVALS_NS = {
    name: minutes * _MINUTE_NS
    for name, minutes in {
        "1m": 1,
        "3m": 3,
        "5m": 5,
        "15m": 15,
        "30m": 30,
        "1h": 60,
        "2h": 120,
        "4h": 240,
        "8h": 480,
        "12h": 720,
        "1d": 1440,
        "3d": 4320,
        "1w": 10080,
    }.items()
}
_AGENT_MS = 180 * 86_400_000  # how long an agent may sign
_ZERO = Decimal("0.0")


def finite_px(px: float) -> Decimal | None:
    """Return a px of the wire, None for NaN."""
    return average_px(px) if px == px else None


class InfoDesk:
    """Answers questions; changes nothing."""

    def __init__(self, world: World, ledger: Ledger, registry: Registry, assets: rules.AssetTable) -> None:
        self._world, self._ledger, self._registry, self._assets = world, ledger, registry, assets
        self.coins, self.coins_listed = frozenset(assets.by_coin), tuple(assets.by_coin)
        self._meta = rules.make_meta([asset.instrument for asset in assets.by_id.values()])
        usdc = rows.SpotToken("USDC", 8, 8, 0, "0x6d1e7cde53ba9467b783cb7c530ce054", True)
        self._spot_meta, self._usdc_id = rows.SpotMeta((usdc,), ()), usdc.token_id
        self._answers: dict[type[ask.InfoRequest], Callable[[Any], Any]] = {
            ask.GetMeta: lambda request: self._meta,
            ask.GetMetaAndAssetCtxs: lambda request: [self._meta, [self.asset_ctx(coin) for coin in assets.by_coin]],
            ask.GetAllPerpMetas: lambda request: [self._meta],
            ask.GetSpotMeta: lambda request: self._spot_meta,
            ask.GetSpotMetaAndAssetCtxs: lambda request: [self._spot_meta, []],
            ask.GetAllMids: lambda request: self.mids(),
            ask.GetL2Book: lambda request: self.book(request.coin, LEVELS_MAX, request.n_sig_figs, request.mantissa),
            ask.GetCandles: self._list_candles,
            ask.GetRecentTrades: lambda request: self.trades(request.coin)[::-1],
            ask.GetFundingHistory: self._list_funding_rates,
            ask.GetPredictedFundings: lambda request: self._predict_fundings(),
            ask.GetExchangeStatus: lambda request: rows.ExchangeStatus(None, self.now_ms()),
            ask.GetClearinghouseState: lambda request: self.account_state(request.user),
            ask.GetSpotClearinghouseState: lambda request: rows.SpotState(()),
            ask.GetOpenOrders: lambda request: [record.to_open() for record in self.visible_orders(request.user)],
            ask.GetFrontendOpenOrders: self._list_frontend,
            ask.GetUserFills: self._list_fills,
            ask.GetUserFillsByTime: self._list_fills_by_time,
            ask.GetOrderStatus: self._find_order,
            ask.GetUserFunding: self._list_user_funding,
            ask.GetHistoricalOrders: self._list_history,
            ask.GetUserRateLimit: self._count_requests,
            ask.GetUserRole: self._find_role,
            ask.GetUserFees: self._list_fees,
            ask.GetPortfolio: self._describe_portfolio,
            ask.GetExtraAgents: self._list_agents,
            ask.GetSubAccounts: self._list_sub_accounts,
            ask.GetActiveAssetData: lambda request: self.active_asset_data(request.user, request.coin),
            ask.GetMaxBuilderFee: self._find_builder_fee,
            ask.GetApprovedBuilders: lambda request: [*book.builder_fees] if (book := self._book(request.user)) else [],
            ask.GetSubAccounts2: self._list_sub_accounts_by_dex,
            ask.GetWebData2: lambda request: self.web_data(request.user.lower()),
            ask.GetReferral: self._describe_referral,
            ask.GetPreTransferCheck: self._check_transfer,
            ask.GetMarginTable: self._find_margin_table,
            ask.GetTokenDetails: self._describe_token,
            ask.GetSpotDeployState: lambda request: {"states": [], "gasAuction": describe_auction(self.now_ms())},
            ask.GetPerpDeployAuctionStatus: lambda request: describe_auction(self.now_ms()),
            ask.GetSpotPairDeployAuctionStatus: lambda request: describe_auction(self.now_ms()),
        }

    def now_ms(self) -> int:
        """Return what the venue's clock shows."""
        return self._world.venue_now_ns() // NS_PER_MS

    def answer(self, request: ask.InfoRequest) -> Any:
        """Return the reply: a record, plain values, or an HttpReply."""
        refusal = ask.find_name_refusal(request, self.coins, frozenset())
        if refusal is not None:
            return refusal
        self._world.advance()
        answer = self._answers.get(type(request))
        return PLAIN_REPLIES.get(type(request)) if answer is None else answer(request)

    # The market.

    def find_coin(self, instrument_id: str) -> str:
        """Return the coin of an instrument."""
        return self._assets.get(instrument_id).coin

    def mids(self) -> dict[str, Decimal]:
        """Return every mid px."""
        market = self._world.market
        found = {
            coin: finite_px(market.get_mid_px(a.instrument.instrument_id)) for coin, a in self._assets.by_coin.items()
        }
        return {coin: px for coin, px in found.items() if px is not None}

    def book(self, coin: str, levels_max: int, n_sig_figs: Any = None, mantissa: Any = None) -> rows.L2Book:
        """Return a book; with `n_sig_figs`, levels are joined away from the middle."""
        asset = self._assets.by_coin[coin]
        is_joined = isinstance(n_sig_figs, int)
        view = self._world.market.get_book(asset.instrument.instrument_id, _LEVELS_SEEN if is_joined else levels_max)
        sides = []
        for levels, rounding in ((view.bids, ROUND_FLOOR), (view.asks, ROUND_CEILING)):
            joined: dict[Decimal, list[int]] = {}
            for level in levels:
                px = rules.px_to_number(level.px)
                if is_joined:
                    step = Decimal(mantissa if isinstance(mantissa, int) else 1).scaleb(px.adjusted() - n_sig_figs + 1)
                    px = wire.reply_number((px / step).to_integral_value(rounding) * step)
                sums = joined.setdefault(px, [0, 0])
                sums[0] += level.qty_lots
                sums[1] += level.orders
                if len(joined) > levels_max:
                    del joined[px]
                    break
            sides.append(tuple(rows.Level(px, rules.lots_to_number(asset, q), n) for px, (q, n) in joined.items()))
        return rows.L2Book(coin, self.now_ms(), (sides[0], sides[1]))

    def asset_ctx(self, coin: str) -> rows.AssetCtx:
        """Return marks, funding, open interest and the day of a coin."""
        asset, market = self._assets.by_coin[coin], self._world.market
        instrument_id = asset.instrument.instrument_id
        mark, day = market.get_mark(instrument_id), market.get_day_stats(instrument_id)
        rate, premium, _ = market.get_funding(instrument_id)
        impact = [finite_px(px) for px in market.get_impact_pxs(instrument_id)]
        return rows.AssetCtx(
            funding=wire.reply_number(Decimal(f"{rate:.10f}")) if rate == rate else _ZERO,
            open_interest=rules.lots_to_number(asset, market.get_open_interest_lots(instrument_id)),
            prev_day_px=finite_px(day.open_px) or _ZERO,
            day_ntl_vlm=money(day.turnover_quote),
            premium=wire.reply_number(Decimal(f"{premium:.10f}")) if premium == premium else None,
            oracle_px=finite_px(mark.oracle_px) or _ZERO,
            mark_px=finite_px(mark.mark_px) or _ZERO,
            mid_px=finite_px(market.get_mid_px(instrument_id)),
            impact_pxs=None if None in impact else tuple(px for px in impact if px is not None),
            day_base_vlm=rules.lots_to_number(asset, day.volume_lots),
        )

    def write_trade(self, trade: PublicTrade) -> rows.Trade:
        """Return a trade of the tape."""
        asset = self._assets.get(trade.instrument_id)
        return rows.Trade(
            asset.coin,
            rows.write_side(trade.taker_side),
            rules.px_to_number(trade.px),
            rules.lots_to_number(asset, trade.qty_lots),
            trade.ts_event_ns // NS_PER_MS,
            make_hash(trade.taker_order_id, trade.ts_event_ns),
            trade.trade_id,
            tuple(HOUSE_ADDRESSES.get(name, name) for name in (trade.buyer_id, trade.seller_id)),
        )

    def trades(self, coin: str, count: int = TRADES_RECENT) -> list[rows.Trade]:
        """Return recent trades, oldest first."""
        instrument_id = self._assets.by_coin[coin].instrument.instrument_id
        return [self.write_trade(trade) for trade in self._world.market.list_trades(instrument_id, count)]

    def candles(self, coin: str, interval: str, from_ms: int, to_ms: int) -> list[rows.Candle]:
        """Return the candles that open in [from, to], the latest 5000, oldest first."""
        interval_ns = INTERVALS_NS[interval]
        asset = self._assets.by_coin[coin]
        from_ns = max(from_ms * NS_PER_MS, to_ms * NS_PER_MS - _CANDLES_MAX * interval_ns)
        found = self._world.market.list_candles(
            asset.instrument.instrument_id, interval_ns, from_ns, to_ms * NS_PER_MS + 1
        )
        return [_write_candle(asset, interval, candle) for candle in found]

    def _list_candles(self, request: ask.GetCandles) -> Any:
        wanted = request.req
        if wanted.interval not in INTERVALS_NS:
            return ask.WRONG_FIELDS
        now_ms = self._world.market.ts_now_ns // NS_PER_MS
        to_ms = min(wanted.end_time, now_ms) if isinstance(wanted.end_time, int) else now_ms
        return self.candles(wanted.coin, wanted.interval, wanted.start_time, to_ms)

    def _list_funding_rates(self, request: ask.GetFundingHistory) -> list[rows.FundingRate]:
        asset = self._assets.by_coin[request.coin]
        found = self._world.market.list_fundings(asset.instrument.instrument_id, request.start_time * NS_PER_MS)
        to_ms = request.end_time if isinstance(request.end_time, int) else 2**62
        listed = [
            rows.FundingRate(
                asset.coin,
                wire.reply_number(Decimal(f"{settled.funding_rate:.10f}")),
                wire.reply_number(Decimal(f"{settled.premium_frac:.10f}")),
                settled.ts_event_ns // NS_PER_MS,
            )
            for settled in found
        ]
        return [row for row in listed if row.time <= to_ms][:_ROWS_MAX]

    def _predict_fundings(self) -> list[Any]:
        found = []
        for coin, asset in self._assets.by_coin.items():
            rate, _, ts_ns = self._world.market.get_funding(asset.instrument.instrument_id)
            told = {"fundingRate": f"{rate:.10f}", "nextFundingTime": ts_ns // NS_PER_MS, "fundingIntervalHours": 1}
            found.append([coin, [["HlPerp", told]]])
        return found

    # Accounts.

    def _book(self, user: str) -> AccountBook | None:
        return self._ledger.books.get(user.lower())

    def account_state(self, user: str) -> rows.ClearinghouseState:
        """Return positions and margin; empty shapes for an address that has no account."""
        time_ms = self.now_ms()
        book = self._book(user)
        if book is None:
            empty = rows.MarginSummary(_ZERO, _ZERO, _ZERO, _ZERO)
            return rows.ClearinghouseState((), empty, empty, _ZERO, _ZERO, time_ms)
        exchange = self._world.market.exchange
        whole, cross = exchange.account_state(user.lower()), exchange.cross_state(user.lower())
        positions = [
            self._position(book, asset, cross.equity_quote, cross.margin_maintenance_quote)
            for asset in self._held(book)
        ]
        of_cross = [row for row in positions if row.position.leverage.type == "cross"]
        return rows.ClearinghouseState(
            tuple(positions),
            _sum_margin(positions, whole.equity_quote),
            _sum_margin(of_cross, cross.equity_quote),
            money(max(0.0, cross.equity_quote - cross.margin_initial_quote)),
            money(cross.margin_maintenance_quote),
            time_ms,
        )

    def _held(self, book: AccountBook) -> list[rules.Asset]:
        exchange, account_id = self._world.market.exchange, book.account.address.lower()
        assets = self._assets.by_id.values()
        return [asset for asset in assets if exchange.position(account_id, asset.instrument.instrument_id).qty_lots]

    def _position(
        self, book: AccountBook, asset: rules.Asset, equity_quote: float, maintenance_quote: float
    ) -> rows.AssetPosition:
        instrument, exchange = asset.instrument, self._world.market.exchange
        held = exchange.position(book.account.address.lower(), instrument.instrument_id)
        mark_px = exchange.get_mark_px(instrument.instrument_id)
        size = held.qty_lots * instrument.lot_base
        leverage = book.leverages.get(instrument.instrument_id, int(instrument.leverage_max))
        unrealized_quote = size * (mark_px - held.avg_px)
        margin_quote, margin = abs(size) * mark_px / leverage, rows.Leverage("cross", leverage)
        account_id = book.account.address.lower()
        if exchange.is_isolated(account_id, instrument.instrument_id):
            # It answers for itself: its equity and its maintenance stand for the account's.
            equity_quote = margin_quote = exchange.compute_isolated_equity_quote(account_id, instrument.instrument_id)
            maintenance_quote = abs(size) * mark_px * instrument.maintenance_margin_frac
            margin = rows.Leverage("isolated", leverage, money(equity_quote - size * mark_px))
        cost_quote = abs(size) * held.avg_px / leverage
        sums = book.funding_paid.get(instrument.instrument_id, [0.0, 0.0, 0.0])
        # Where equity meets maintenance, all other marks standing still.
        slope = size - abs(size) * instrument.maintenance_margin_frac
        liquidation_px = mark_px - (equity_quote - maintenance_quote) / slope
        return rows.AssetPosition(
            "oneWay",
            rows.Position(
                coin=asset.coin,
                szi=rules.lots_to_number(asset, held.qty_lots),
                leverage=margin,
                entry_px=average_px(held.avg_px),
                position_value=money(abs(size) * mark_px),
                unrealized_pnl=money(unrealized_quote),
                return_on_equity=average_px(unrealized_quote / cost_quote),
                liquidation_px=average_px(liquidation_px) if liquidation_px > 0.0 else None,
                margin_used=money(margin_quote),
                max_leverage=int(instrument.leverage_max),
                cum_funding=rows.FundingSums(money(sums[0]), money(sums[1]), money(sums[2])),
            ),
        )

    def visible_orders(self, user: str) -> list[OrderRecord]:
        """Return the open orders of a user that may be seen, oldest first."""
        book, now_ns = self._book(user), self._world.now_ns()
        if book is None:
            return []
        hidden_ms = self._world.board.view(self._world.venue, now_ns, "openOrders").stop_hidden_ns // NS_PER_MS
        from_ms = now_ns // NS_PER_MS - hidden_ms
        return [record for record in book.open_orders() if not (record.is_trigger and record.ts_ms > from_ms)]

    def _list_frontend(self, request: ask.GetFrontendOpenOrders) -> list[rows.FrontendOrder]:
        return [record.to_frontend() for record in self.visible_orders(request.user)]

    def fills(self, user: str, count: int = _FILLS_MAX) -> list[rows.Fill]:
        """Return the latest fills, newest first."""
        book = self._book(user)
        return [] if book is None else book.fills[::-1][:count]

    def _list_fills(self, request: ask.GetUserFills) -> list[rows.Fill]:
        book = self._book(request.user)
        found = [] if book is None else book.fills
        return (rows.join_fills(found) if request.aggregate_by_time is True else found)[::-1][:_FILLS_MAX]

    def _list_fills_by_time(self, request: ask.GetUserFillsByTime) -> list[rows.Fill]:
        book, to_ms = self._book(request.user), request.end_time
        if book is None:
            return []
        found = [f for f in book.fills if request.start_time <= f.time and (to_ms is None or f.time <= to_ms)]
        found = rows.join_fills(found) if request.aggregate_by_time is True else found
        if request.reversed is True:  # the latest of the range, not the first
            return found[::-1][:_FILLS_MAX]
        return found[:_FILLS_MAX][::-1]

    def _find_order(self, request: ask.GetOrderStatus) -> rows.OrderStatusReply:
        record = self._ledger.find(request.user.lower(), request.oid)
        if record is None or not record.status:
            return rows.UNKNOWN_OID
        return rows.OrderStatusReply("order", record.to_row())

    def _list_user_funding(self, request: ask.GetUserFunding) -> list[rows.UserFunding]:
        book = self._book(request.user)
        from_ms = request.start_time if isinstance(request.start_time, int) else 0
        to_ms = request.end_time if isinstance(request.end_time, int) else 2**62
        found = [] if book is None else [row for row in book.fundings if from_ms <= row.time <= to_ms]
        return [
            rows.UserFunding(
                row.time,
                rows.ZERO_HASH,
                rows.FundingDelta(row.coin, row.funding_rate, row.szi, row.usdc, n_samples=None),
            )
            for row in found[:_ROWS_MAX]
        ]

    def history(self, user: str) -> list[rows.OrderRow]:
        """Return the latest orders and what became of them, newest first."""
        book = self._book(user)
        found = [] if book is None else [record for record in book.orders.values() if record.status]
        return [record.to_row() for record in found[::-1][:_FILLS_MAX]]

    def _list_history(self, request: ask.GetHistoricalOrders) -> list[rows.OrderRow]:
        listed = self.history(request.user)
        view = self._world.board.view(self._world.venue, self._world.now_ns(), "historicalOrders")
        if view.is_history_duplicated:
            opened = [rows.OrderRow(row.order, "open", row.order.timestamp) for row in listed if row.status != "open"]
            listed = [*listed, *opened]
        return listed

    def _count_requests(self, request: ask.GetUserRateLimit) -> rows.UserRateLimit:
        book, now_ns = self._book(request.user), self._world.now_ns()
        if book is None:
            return rows.UserRateLimit(_ZERO, 0, REQUESTS_INITIAL)
        view = self._world.board.view(self._world.venue, now_ns, "userRateLimit")
        cap = REQUESTS_INITIAL + int(book.turnover_quote) if view.requests_max is None else view.requests_max
        return rows.UserRateLimit(money(book.turnover_quote), book.requests, cap)

    def _find_role(self, request: ask.GetUserRole) -> rows.UserRole:
        address = request.user.lower()
        book = self._book(address)
        if book is not None and book.account.master:
            return rows.UserRole("subAccount", {"master": book.account.master.lower()})
        if book is not None:
            return rows.UserRole("user")
        master = self._registry.find_user(address)
        return rows.UserRole("missing") if master is None else rows.UserRole("agent", {"user": master})

    def _list_fees(self, request: ask.GetUserFees) -> rows.UserFees:
        book = self._book(request.user)
        taker_bps, maker_bps = ((None if book is None else book.account.costs) or BASE_COSTS)[:2]
        rates = [wire.reply_number(Decimal(f"{bps / 1e4:.10f}")) for bps in (taker_bps, maker_bps)]
        spot = wire.reply_number("0.0007"), wire.reply_number("0.0004")
        now_day = f"{datetime.fromtimestamp(self.now_ms() / 1000, UTC):%Y-%m-%d}"
        volume = _ZERO if book is None else money(book.turnover_quote)
        days = ({"date": now_day, "userCross": str(volume), "userAdd": "0.0", "exchange": str(volume)},)
        return rows.UserFees(rates[0], rates[1], days, describe_fee_schedule(), spot[0], spot[1], _ZERO)

    def _describe_portfolio(self, request: ask.GetPortfolio) -> list[Any]:
        book, value, pnl, now_ms = self._book(request.user), _ZERO, _ZERO, self.now_ms()
        if book is not None:
            equity_quote = self._world.market.exchange.account_state(request.user.lower()).equity_quote
            value, pnl = money(equity_quote), money(equity_quote - book.account.deposit_quote)
        period = rows.PortfolioPeriod(
            ((now_ms, value),), ((now_ms, pnl),), _ZERO if book is None else money(book.turnover_quote)
        )
        names = ("day", "week", "month", "allTime", "perpDay", "perpWeek", "perpMonth", "perpAllTime")
        return [[name, period] for name in names]

    def _list_agents(self, request: ask.GetExtraAgents) -> list[rows.ExtraAgent]:
        book, until_ms = self._book(request.user), self.now_ms() + _AGENT_MS
        agents = {} if book is None else book.agents
        return [rows.ExtraAgent(name, address, until_ms) for address, name in agents.items() if name]

    def _list_sub_accounts(self, request: ask.GetSubAccounts) -> Any:
        master = request.user.lower()
        found = [
            {
                "subAccountUser": address,
                "master": master,
                "name": "",
                "clearinghouseState": self.account_state(address),
                "spotState": rows.SpotState(()),
            }
            for address in self._registry.list_sub_accounts(master)
        ]
        return found or None

    def _list_sub_accounts_by_dex(self, request: ask.GetSubAccounts2) -> Any:
        found = self._list_sub_accounts(ask.GetSubAccounts(request.user)) or []
        for row in found:
            row["dexToClearinghouseState"] = [["", row.pop("clearinghouseState")]]
        return found or None

    # The rest.

    def web_data(self, user: str) -> dict[str, Any]:
        """Return what the venue's site shows of a user."""
        agent, until_ms = self.find_agent(user)
        return {
            "clearinghouseState": self.account_state(user),
            "leadingVaults": [],
            "totalVaultEquity": "0.0",
            "openOrders": [record.to_frontend() for record in self.visible_orders(user)],
            "agentAddress": agent,
            "agentValidUntil": until_ms,
            "cumLedger": self.count_deposits(user),
            "meta": self._meta,
            "assetCtxs": [self.asset_ctx(coin) for coin in self.coins_listed],
            "serverTime": self.now_ms(),
            "isVault": False,
            "user": user,
            "twapStates": [],
            "spotState": rows.SpotState(()),
            "spotAssetCtxs": [],
            "perpsAtOpenInterestCap": [],
        }

    def find_agent(self, user: str) -> tuple[str | None, int | None]:
        """Return the unnamed agent of a user and until when it may sign, None if there is none."""
        book = self._book(user)
        unnamed = None if book is None else next((a for a, name in book.agents.items() if not name), None)
        return unnamed, None if unnamed is None else self.now_ms() + _AGENT_MS

    def count_deposits(self, user: str) -> Decimal:
        """Return what a user brought in."""
        book = self._book(user)
        return _ZERO if book is None else money(book.account.deposit_quote)

    def _describe_referral(self, request: ask.GetReferral) -> dict[str, Any]:
        book = self._book(request.user)
        return describe_referral("0.0" if book is None else str(money(book.turnover_quote)))

    def _check_transfer(self, request: ask.GetPreTransferCheck) -> dict[str, Any]:
        book = self._book(request.user)
        told = {"userExists": book is not None, "userHasSentTx": book is not None and book.requests > 0}
        return {"fee": "0.0" if book is not None else "1.0", "isSanctioned": False, **told}

    def _find_margin_table(self, request: ask.GetMarginTable) -> Any:
        tables = () if self._meta.margin_tables is UNSET else self._meta.margin_tables
        return next((table for table_id, table in tables if table_id == request.id), ask.UNKNOWN_NAME)

    def _describe_token(self, request: ask.GetTokenDetails) -> Any:
        return describe_token("USDC") if request.token_id.lower() == self._usdc_id else ask.UNKNOWN_NAME

    def active_asset_data(self, user: str, coin: str) -> rows.ActiveAssetData:
        """Return leverage and what may be traded of a coin."""
        asset, book = self._assets.by_coin[coin], self._book(user)
        instrument = asset.instrument
        mark_px = self._world.market.get_mark(instrument.instrument_id).mark_px
        leverage, free_quote, margin = int(instrument.leverage_max), 0.0, None
        if book is not None:
            leverage = book.leverages.get(instrument.instrument_id, leverage)
            state = self._world.market.exchange.cross_state(user.lower())
            free_quote = max(0.0, state.equity_quote - state.margin_initial_quote)
            if instrument.instrument_id in book.isolated:
                margin = rows.Leverage("isolated", leverage, _ZERO)
                told = next((self._position(book, a, 0.0, 0.0) for a in self._held(book) if a is asset), None)
                margin = margin if told is None else told.position.leverage
        lots = int(free_quote * leverage / (mark_px * instrument.lot_base)) if mark_px == mark_px else 0
        size, free = rules.lots_to_number(asset, lots), money(free_quote)
        return rows.ActiveAssetData(
            user.lower(),
            coin,
            margin or rows.Leverage("cross", leverage),
            (size, size),
            (free, free),
            finite_px(mark_px) or UNSET,
        )

    def _find_builder_fee(self, request: ask.GetMaxBuilderFee) -> int:
        book = self._book(request.user)
        return 0 if book is None else book.builder_fees.get(request.builder.lower(), 0)


def _sum_margin(positions: Sequence[rows.AssetPosition], equity_quote: float) -> rows.MarginSummary:
    values = [(row.position.position_value, 1 if row.position.szi > 0 else -1) for row in positions]
    equity = money(equity_quote)
    return rows.MarginSummary(
        equity,
        wire.reply_number(sum((value for value, _ in values), Decimal(0))),
        wire.reply_number(equity - sum((value * side for value, side in values), Decimal(0))),
        wire.reply_number(sum((row.position.margin_used for row in positions), Decimal(0))),
    )


def _write_candle(asset: rules.Asset, interval: str, candle: Candle) -> rows.Candle:
    open_px, close_px, high_px, low_px = (
        rules.px_to_number(px) for px in (candle.open_px, candle.close_px, candle.high_px, candle.low_px)
    )
    return rows.Candle(
        candle.ts_open_ns // NS_PER_MS,
        (candle.ts_open_ns + candle.interval_ns) // NS_PER_MS - 1,
        asset.coin,
        interval,
        open_px,
        close_px,
        high_px,
        low_px,
        rules.lots_to_number(asset, candle.volume_lots),
        candle.count,
    )


def as_http(reply: Any) -> HttpReply:
    """Return an answer as HTTP."""
    return reply if isinstance(reply, HttpReply) else HttpReply(200, wire.JSON_TYPE, rows.encode_info_reply(reply))
