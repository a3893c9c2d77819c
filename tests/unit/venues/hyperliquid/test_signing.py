"""Signatures: the vectors, the official SDK as the other side, and what altering does."""

import json
from typing import Any

import pytest
from hyperliquid.utils import signing as sdk
from hypothesis import given
from hypothesis import strategies as st

from tests.shared_data import needs_shared
from tests.unit.venues.hyperliquid.captures import ADDRESS, KEY, read_vectors
from venues.hyperliquid import exchange_actions as actions
from venues.hyperliquid import signing
from venues.hyperliquid.exchange_actions import Signature, SignedAction

WALLET = signing.load_wallet(KEY)
ORDER = actions.PlaceOrders((actions.limit_order(1, True, "100", "0.5", "Gtc", cloid="0x" + "0" * 31 + "1"),))
TRIGGER = actions.PlaceOrders((actions.trigger_order(1, False, "90", "0.5", "95.5", "sl"),), "normalTpsl")


def envelope_of(case: dict[str, Any], network: str) -> SignedAction:
    body = {
        "action": case["action"],
        "nonce": case["nonce"],
        "signature": case[f"signature_{network}"],
        "vaultAddress": case["vaultAddress"],
        "expiresAfter": case["expiresAfter"],
    }
    signed = actions.decode_exchange_request(json.dumps(body).encode())
    assert isinstance(signed, SignedAction)
    return signed


@needs_shared
def test_all_vectors_verify_on_both_networks_and_altered_ones_name_another() -> None:
    cases = read_vectors()
    assert len(cases) == 13
    for case in cases:
        for network in signing.NETWORKS:
            signed = envelope_of(case, network)
            connection_id = signing.hash_l1_action(
                signed.plain, signed.vault_address, signed.nonce, signed.expires_after
            )
            assert "0x" + connection_id.hex() == case["connectionId"]
            assert signing.recover_signer(signed, network) == signing.Signer(ADDRESS, network), case["name"]
            altered = [
                SignedAction(signed.action, {**signed.plain, "x": 1}, signed.nonce, signed.signature),
                SignedAction(signed.action, signed.plain, signed.nonce + 1, signed.signature, signed.vault_address),
                SignedAction(signed.action, signed.plain, signed.nonce, signed.signature, "0x" + "1" * 40),
                SignedAction(
                    signed.action, signed.plain, signed.nonce, signed.signature, signed.vault_address, 1 << 40
                ),
                SignedAction(
                    signed.action, dict(reversed(signed.plain.items())), signed.nonce, signed.signature, expires_after=5
                ),
            ]
            for other in altered:
                address = signing.recover_l1_signer(other, network)
                assert address != ADDRESS
                assert address is not None
                assert len(address) == 42
            other_network: signing.Network = "testnet" if network == "mainnet" else "mainnet"
            assert signing.recover_l1_signer(signed, other_network) != ADDRESS
            mine = signing.sign_action(WALLET, actions.Noop(), 1, network)
            assert signing.recover_l1_signer(mine, network) == ADDRESS


def test_key_order_is_part_of_what_is_signed() -> None:
    signed = signing.sign_action(WALLET, ORDER, 1_700_000_000_000, "mainnet")
    turned = SignedAction(signed.action, dict(reversed(signed.plain.items())), signed.nonce, signed.signature)
    assert signing.recover_l1_signer(signed, "mainnet") == ADDRESS
    assert signing.recover_l1_signer(turned, "mainnet") != ADDRESS


@pytest.mark.parametrize("action", [ORDER, TRIGGER, actions.Noop(), actions.UpdateLeverage(0, True, 5)])
@pytest.mark.parametrize("network", signing.NETWORKS)
@given(
    nonce=st.integers(0, 2**63 - 1), vault=st.sampled_from([None, "0x" + "Ab" * 20]), expiry=st.sampled_from([None, 9])
)
def test_both_sides_agree_with_the_sdk(
    action: actions.Action, network: signing.Network, nonce: int, vault: str | None, expiry: int | None
) -> None:
    signed = signing.sign_action(WALLET, action, nonce, network, vault_address=vault, expires_after=expiry)
    decoded = actions.decode_exchange_request(actions.encode_exchange_request(signed))
    assert decoded == signed
    parts = {"r": signed.signature.r, "s": signed.signature.s, "v": signed.signature.v}
    theirs = sdk.recover_agent_or_user_from_l1_action(
        signed.plain, parts, signed.vault_address, nonce, expiry, network == "mainnet"
    )
    assert theirs == WALLET.address == signing.checksum(ADDRESS)
    assert signing.recover_signer(signed, network) == signing.Signer(ADDRESS, network)


def test_short_signatures_are_padded() -> None:
    for nonce in range(1, 400):
        parts = sdk.sign_l1_action(WALLET, {"type": "noop"}, None, nonce, None, True)
        if len(parts["r"]) < 66 or len(parts["s"]) < 66:
            break
    else:
        pytest.fail("no signature with a leading zero among 400")
    short = SignedAction(actions.Noop(), {"type": "noop"}, nonce, Signature(parts["r"], parts["s"], parts["v"]))
    assert signing.recover_l1_signer(short, "mainnet") == ADDRESS
    ours = signing.sign_action(WALLET, actions.Noop(), nonce, "mainnet")
    assert ours.signature == signing.pad_signature(short.signature)


USER_ACTIONS: list[tuple[actions.UserSigned, int]] = [
    (actions.ApproveAgent("0x" + "1" * 40, 5), 5),
    (actions.ApproveAgent("0x" + "1" * 40, 5, "desk"), 5),
    (actions.ApproveBuilderFee("0.01%", "0x" + "2" * 40, 6), 6),
    (actions.SendUsd("0x" + "3" * 40, "1.5", 7), 7),
    (actions.SendSpot("0x" + "3" * 40, "PURR:0xc4bf3f870c0e9465323c0b6ed28096c2", "1.5", 7), 7),
    (actions.Withdraw("0x" + "3" * 40, "1.5", 8), 8),
    (actions.TransferUsdClass("1.5", True, 9), 9),
    (actions.SendAsset("0x" + "3" * 40, "", "spot", "USDC", "1", "", 9), 9),
    (actions.SetUserAbstraction("0x" + "4" * 40, "disabled", 10), 10),
    (actions.SetUserDexAbstraction("0x" + "4" * 40, True, 10), 10),
    (actions.Delegate("0x" + "5" * 40, 100, False, 11), 11),
]


@pytest.mark.parametrize(("action", "nonce"), USER_ACTIONS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("network", signing.NETWORKS)
def test_user_signed_actions_verify(action: actions.UserSigned, nonce: int, network: signing.Network) -> None:
    signed = signing.sign_action(WALLET, action, nonce, network)
    decoded = actions.decode_exchange_request(actions.encode_exchange_request(signed))
    assert isinstance(decoded, SignedAction)
    assert decoded.action == action
    assert signing.recover_signer(decoded, "mainnet") == signing.Signer(ADDRESS, network)
    for key, value in decoded.plain.items():
        if key in ("type", "hyperliquidChain", "signatureChainId") or not isinstance(value, str) or not value:
            continue
        changed = value[:-1] + ("0" if value[-1] != "0" else "1")
        other = SignedAction(action, {**decoded.plain, key: changed}, nonce, decoded.signature)
        found = signing.recover_signer(other, network)
        assert found is None or found.address != ADDRESS, key


def test_every_user_signed_action_has_its_fields() -> None:
    covered = {str(kind.__struct_config__.tag) for kind in actions.UserSigned.__subclasses__()}
    assert covered == set(signing.USER_SIGNED) == {str(type(a).__struct_config__.tag) for a, _ in USER_ACTIONS}


def test_trailing_zeros_cost_the_signer_his_name() -> None:
    plain = {"type": "order", "orders": [{"a": 1, "b": True, "p": "100.0", "s": "1", "r": False, "t": {}}]}
    parts = sdk.sign_l1_action(WALLET, plain, None, 1, None, True)
    signed = SignedAction(actions.UnknownAction("order"), plain, 1, Signature(parts["r"], parts["s"], parts["v"]))
    assert signing.read_as_venue(plain)["orders"][0]["p"] == "100"
    assert signing.recover_l1_signer(signed, "mainnet") != ADDRESS
    modify = {"type": "batchModify", "modifies": [{"oid": 1, "order": {"t": {"trigger": {"triggerPx": "9.50"}}}}, 3]}
    read = signing.read_as_venue(modify)
    assert read["modifies"][0]["order"]["t"]["trigger"]["triggerPx"] == "9.5"
    assert signing.read_as_venue({"type": "modify", "oid": 1}) == {"type": "modify", "oid": 1}


def test_what_nobody_can_have_signed() -> None:
    good = signing.sign_action(WALLET, actions.Noop(), 1, "mainnet")
    for signature in (Signature("0x0", "0x0", 27), Signature("0x" + "f" * 64, "0x1", 28), Signature("0x1", "0x1", 99)):
        broken = SignedAction(good.action, good.plain, 1, signature)
        assert signing.recover_signer(broken, "mainnet") is None
    unpackable = SignedAction(good.action, {"n": 2**70}, 1, good.signature)
    assert signing.recover_signer(unpackable, "mainnet") is None
    user = signing.sign_action(WALLET, actions.SendUsd("0x" + "3" * 40, "1", 7), 7, "mainnet")
    for change in ({"hyperliquidChain": "Moon"}, {"signatureChainId": "zz"}, {"time": "x"}):
        broken = SignedAction(user.action, {**user.plain, **change}, 7, user.signature)
        assert signing.recover_user_signer(broken) is None


def test_signing_refuses_what_would_be_wrong() -> None:
    with pytest.raises(ValueError, match="leave vault_address"):
        signing.sign_action(WALLET, actions.SendUsd("0x" + "3" * 40, "1", 7), 7, "mainnet", expires_after=9)
    with pytest.raises(ValueError, match="says nonce 7, not 8"):
        signing.sign_action(WALLET, actions.SendUsd("0x" + "3" * 40, "1", 7), 8, "mainnet")
    with pytest.raises(ValueError, match="check the keys file") as caught:
        signing.load_wallet("0xsecret")
    assert "secret" not in str(caught.value)
    assert KEY[2:] not in repr(WALLET)
