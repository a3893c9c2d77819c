"""Random signed order flows of several accounts through each venue's machine, no sockets, a clock in our hands.

After every action cash, positions and fees balance and the book is uncrossed (`check_invariants`), and what the venue
tells of orders, fills and positions is what the exchange holds. The market swings, so that stops trigger, funding is
paid and poor accounts are liquidated: the tests insist on having seen each.
"""

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from eth_account import Account as Wallet

from market.events import Fill, FillKind
from market.fills import Costs
from market.instruments import LISTED
from market.records import NS_PER_MS, NS_PER_S
from venues.dydx import order_terms as terms
from venues.dydx.signing import SigningKey
from venues.dydx.simulator import DydxSimulator
from venues.dydx.transactions import LOCALNET, Account, sign_tx
from venues.hyperliquid import exchange_actions as act
from venues.hyperliquid import signing
from venues.hyperliquid.exchange_replies import encode_exchange_reply
from venues.hyperliquid.simulator import HyperliquidSimulator
from venues.simulator.accounts import SimulatedAccount
from venues.simulator.driven_market import Block, DrivenMarket, MarketSettings
from venues.simulator.faults import FaultBoard
from venues.simulator.funding import FundingRule, MarkRule
from venues.simulator.price_path import make_bars

pytestmark = pytest.mark.timeout(280)

TS_NS = 1_767_225_600 * NS_PER_S  # an hour's beginning
DEPOSITS_QUOTE = (50_000.0, 20_000.0, 60.0, 25.0)  # the last two live on their leverage
SEEDS, STEPS = 3, 300
SECRETS = tuple(f"{index + 1:02x}" * 32 for index in range(len(DEPOSITS_QUOTE)))


class World:
    """What both venues' flows share: a clock, a swinging market, a count of what happened."""

    def __init__(self, venue_id: str, seed: int, **settings: Any) -> None:
        self.draws = random.Random(seed)
        self.ts_ns = TS_NS + NS_PER_S
        self.instrument_id = f"BTC-PERP.{venue_id}"
        pxs = [60_000.0]
        for _ in range(200):
            pxs.append(min(75_000.0, max(48_000.0, pxs[-1] * (1.0 + self.draws.gauss(0.0, 0.008)))))
        path = {self.instrument_id: make_bars(pxs, TS_NS, 60 * NS_PER_S, 40.0)}
        chosen = MarketSettings(block_ns=NS_PER_S, mark_every_ns=2 * NS_PER_S, **settings)
        self.market = DrivenMarket([LISTED[self.instrument_id]], Costs(4.5, 1.5, 0.0), path, chosen, seed)
        self.seen: Counter[str] = Counter()

    def clock_ns(self) -> int:
        return self.ts_ns

    def count(self, block: Block) -> None:
        """Count the events of a block by kind; a liquidation is a fill of an order nobody sent."""
        for _, event in block.events:
            self.seen[type(event).__name__] += 1
            if isinstance(event, Fill) and event.kind == FillKind.LIQUIDATION:
                self.seen["liquidated"] += 1

    def draw_px(self, width_frac: float = 0.01) -> int:
        mark_px = self.market.get_mark(self.instrument_id).mark_px
        return round(mark_px * (1.0 + self.draws.uniform(-width_frac, width_frac)))


class HyperliquidFlow(World):
    """Signed actions through the desk."""

    def __init__(self, seed: int) -> None:
        super().__init__("HYPERLIQUID", seed, is_child_armed_by_part=False)
        self.wallets = [signing.load_wallet("0x" + secret) for secret in SECRETS]
        accounts = [
            SimulatedAccount(Wallet.from_key("0x" + secret).address, deposit)
            for secret, deposit in zip(SECRETS, DEPOSITS_QUOTE, strict=True)
        ]
        self.venue = HyperliquidSimulator(self.market, FaultBoard(), accounts, self.clock_ns)
        self.venue.world.listen(self.count)
        self.venue.world.advance()
        self.nonce = 0
        self.cloids: list[str] = []

    def step(self) -> None:
        """One action of one account, then time."""
        wallet = self.draws.choice(self.wallets)
        self.nonce = max(self.nonce + 1, self.ts_ns // NS_PER_MS)
        signed = signing.sign_action(wallet, self._draw_action(wallet.address.lower()), self.nonce, "testnet")
        read = act.decode_exchange_request(act.encode_exchange_request(signed))
        assert isinstance(read, act.SignedAction)
        encode_exchange_reply(self.venue.desk.handle(read))
        self.check()
        self.ts_ns += self.draws.choice((0, 0, NS_PER_MS, NS_PER_S, 20 * NS_PER_S, 90 * NS_PER_S))
        self.venue.world.advance()
        self.venue.desk.tend()
        self.check()

    def _draw_order(self) -> act.WireOrder:
        is_buy, is_reduce_only = self.draws.random() < 0.5, self.draws.random() < 0.2
        self.cloids.append(f"0x{len(self.cloids):032x}")
        tif = self.draws.choice(("Gtc", "Gtc", "Ioc", "Alo"))
        size = str(Decimal(self.draws.choice((20, 100, 700, 2_000, 30_000))).scaleb(-5).normalize())
        px = str(self.draw_px(0.1 if tif == "Ioc" else 0.01))
        return act.limit_order(0, is_buy, px, size, tif, is_reduce_only=is_reduce_only, cloid=self.cloids[-1])

    def _draw_trigger(self, is_buy: bool, size: str) -> act.WireOrder:
        self.cloids.append(f"0x{len(self.cloids):032x}")
        kind, trigger_px = self.draws.choice(("sl", "tp")), self.draw_px(0.02)
        px = round(trigger_px * (1.08 if is_buy else 0.92))
        return act.trigger_order(0, is_buy, str(px), size, str(trigger_px), kind, cloid=self.cloids[-1])

    def _draw_action(self, account_id: str) -> act.Action:
        open_orders = self.venue.ledger.books[account_id].open_orders()
        oids = [record.oid for record in open_orders] or [1]
        match self.draws.randrange(10):
            case 0 | 1 | 2:
                return act.PlaceOrders(tuple(self._draw_order() for _ in range(self.draws.randint(1, 3))))
            case 3 | 4:
                entry = self._draw_order()
                children = [
                    self._draw_trigger(not entry.is_buy, str(entry.sz)) for _ in range(self.draws.randint(1, 2))
                ]
                return act.PlaceOrders((entry, *children), "normalTpsl")
            case 5:
                size = str(Decimal(self.draws.randint(1, 900)).scaleb(-5))
                return act.PlaceOrders((self._draw_trigger(self.draws.random() < 0.5, size),))
            case 6:
                return act.CancelOrders((act.Cancel(0, self.draws.choice(oids)),))
            case 7:
                cloid = self.draws.choice(self.cloids[-30:] or ["0x" + "f" * 32])
                return act.CancelByCloid((act.CloidCancel(0, cloid),))
            case 8:
                return act.ModifyOrders((act.Modify(self.draws.choice(oids), self._draw_order()),))
            case _:
                return act.UpdateLeverage(0, True, self.draws.choice((1, 3, 40, 41)))

    def check(self) -> None:
        """Money, lots and book; and the ledger against the exchange."""
        exchange = self.market.exchange
        exchange.check_invariants()
        for account_id, book in self.venue.ledger.books.items():
            own = {report.client_order_id: report for report in exchange.open_orders(account_id)}
            told = {record.key: record for record in book.open_orders()}
            assert set(told) == set(own)
            for key, record in told.items():
                assert record.lots - record.lots_filled == own[key].qty_lots - own[key].qty_filled_lots
            assert len(book.fills) == len(exchange.fills_since(account_id, 0))


class DydxFlow(World):
    """Signed transactions through the chain."""

    def __init__(self, seed: int) -> None:
        super().__init__("DYDX", seed, mark_rule=MarkRule.ORACLE, funding_rule=FundingRule.DYDX)
        self.keys = [SigningKey.from_hex(secret) for secret in SECRETS]
        accounts = [
            SimulatedAccount(key.address, deposit) for key, deposit in zip(self.keys, DEPOSITS_QUOTE, strict=True)
        ]
        self.venue = DydxSimulator(self.market, FaultBoard(), accounts, self.clock_ns)
        self.venue.world.listen(self.count)
        self.venue.chain.start()
        self.venue.settle()
        self.nonce = 0
        self.sent: list[terms.OrderId] = []

    def step(self) -> None:
        """One transaction of one account, then time."""
        key = self.draws.choice(self.keys)
        account = self.venue.chain.find_account(key.address)
        assert account is not None
        self.nonce = max(self.nonce + 1, self.ts_ns // NS_PER_MS)
        message = self._draw_message(key)
        admission = self.venue.chain.broadcast(
            sign_tx(message, key, Account(LOCALNET, account.account_number, self.nonce))
        )
        self.seen["admitted" if admission.refusal is None else f"code {admission.refusal.code}"] += 1
        self.venue.settle()
        self.check()
        for _ in range(self.draws.choice((0, 0, 1, 1, 15, 90))):
            self.ts_ns += NS_PER_S
            self.venue.settle()
        self.check()
        stops = {row.id for row in self.venue.store.orders.values() if row.order_flags == "32" and row.total_filled > 0}
        self.seen["conditional filled"] = len(stops)

    def _draw_message(self, key: SigningKey) -> terms.ChainMessage:
        height, time_s = self.venue.chain.height, self.ts_ns // NS_PER_S
        good_til = {"good_til_block": height + self.draws.randint(0, 21)}
        subaccount = terms.SubaccountId(key.address)
        own = [one for one in self.sent if one.subaccount == subaccount][-20:]
        if own and self.draws.random() < 0.25:
            order_id = self.draws.choice(own)
            if order_id.is_stateful:
                return terms.CancelOrder(order_id, good_til_block_time_s=time_s + self.draws.randint(1, 900))
            if self.draws.random() < 0.3:
                ids = tuple(one.client_id for one in own if not one.is_stateful)
                return terms.BatchCancel(subaccount, (terms.CancelBatch(0, ids),), height + 10)
            return terms.CancelOrder(order_id, good_til_block=height + self.draws.randint(1, 20))
        flags = self.draws.choice((terms.SHORT_TERM, terms.SHORT_TERM, terms.LONG_TERM, terms.CONDITIONAL))
        is_again = bool(own) and self.draws.random() < 0.1  # the same id: a replacement
        order_id = self.draws.choice(own) if is_again else terms.OrderId(subaccount, len(self.sent) + 1, flags)
        self.sent.append(order_id)
        if order_id.is_stateful:
            good_til = {"good_til_block_time_s": time_s + self.draws.randint(1, 900)}
        return terms.PlaceOrder(self._draw_order(order_id, good_til))

    def _draw_order(self, order_id: terms.OrderId, good_til: dict[str, int]) -> terms.Order:
        tif, extra = self.draws.choice((0, 0, 1, 2)), {}
        if order_id.order_flags == terms.CONDITIONAL:
            tif = 1
            extra = {"condition_type": self.draws.choice((1, 2)), "trigger_subticks": self.draw_px(0.02) * 100_000}
        elif order_id.order_flags == terms.LONG_TERM:
            tif = self.draws.choice((0, 2))
        return terms.Order(
            order_id,
            self.draws.choice((1, 2)),
            self.draws.choice((1, 4, 30, 200, 3_000)) * 10_000_000,
            self.draw_px(0.1 if tif == 1 else 0.01) * 100_000,
            time_in_force=tif,
            is_reduce_only=tif == 1 and self.draws.random() < 0.4,
            **good_til,
            **extra,
        )

    def check(self) -> None:
        """Money, lots and book; and the Indexer's tables against the exchange."""
        exchange, store = self.market.exchange, self.venue.store
        exchange.check_invariants()
        for account_id in self.venue.chain.accounts:
            fills = exchange.fills_since(account_id, 0)
            assert len(store.fills.get(account_id, [])) == len(fills)
            row = store.show_subaccount(account_id)
            assert row is not None
            held = exchange.position(account_id, self.instrument_id).qty_lots * Decimal("0.0001")
            told = sum((one.size for one in row.open_perpetual_positions.values()), Decimal(0))
            assert told == held
            resting = Counter((report.side, report.qty_lots) for report in exchange.open_orders(account_id))
            rows = [one for one in store.list_orders([account_id]) if one.status in ("OPEN", "BEST_EFFORT_OPENED")]
            assert len(rows) >= sum(resting.values()), "an order rests that the Indexer does not tell of"


def run(make: Callable[[int], HyperliquidFlow | DydxFlow]) -> Counter[str]:
    """Return what happened in all flows; a failure's traceback names its seed and step."""
    seen: Counter[str] = Counter()
    for seed in range(SEEDS):
        flow = make(seed)
        for _step in range(STEPS):
            flow.step()
        seen.update(flow.seen)
    return seen


def test_hyperliquid_stays_balanced() -> None:
    seen = run(HyperliquidFlow)
    wanted = {"Fill", "OrderTriggered", "OrderCanceled", "OrderModified", "FundingPaid", "liquidated"}
    assert wanted <= {*seen}, seen


def test_dydx_stays_balanced() -> None:
    seen = run(DydxFlow)
    wanted = {"Fill", "OrderCanceled", "FundingPaid", "liquidated", "admitted", "conditional filled"}
    assert wanted <= {*seen}, seen
    assert seen["admitted"] > SEEDS * STEPS // 3, seen
