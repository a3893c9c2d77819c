"""The official SDK as this package uses it. Its `network` warns of its own defaults, three times, when it is imported:
told to be quiet first, here, where alone it is imported. (`dydx_v4_client.key_pair` by itself imports no such thing.)
"""

import logging

logging.getLogger("dydx_v4_client.network").setLevel(logging.ERROR)

from dydx_v4_client.key_pair import KeyPair  # noqa: E402 - after the level is set
from dydx_v4_client.network import NodeConfig, local_node, mainnet_node, testnet_node  # noqa: E402
from dydx_v4_client.node.builder import TxOptions  # noqa: E402
from dydx_v4_client.node.client import NodeClient  # noqa: E402
from dydx_v4_client.wallet import Wallet  # noqa: E402

__all__ = ["KeyPair", "NodeClient", "NodeConfig", "TxOptions", "Wallet", "local_node", "mainnet_node", "testnet_node"]
