"""How fast the venues' codecs and simulators are: messages decoded and orders taken a second, beside peers.

Run: python -m benchmarks.venues. Decoding and the machines alone take one core; over sockets the simulator has another.
"""

from benchmarks.venues_decode import measure_decoding
from benchmarks.venues_orders import measure_orders


def main() -> None:
    """Print both tables."""
    print(f"{'decoded to checked records, fastest pass; indented: peers':68}{'messages/s':>12}{'x ours':>8}")
    for label, messages_s, ratio in measure_decoding():
        print(f"{label:68}{messages_s:12,.0f}" + (f"{ratio:8.2f}" if ratio else ""))
    print(f"\n{'orders: place, then cancel':68}{'orders/s':>12}{'p50 ms':>8}")
    for label, orders_s, median_ms in measure_orders():
        print(f"{label:68}{orders_s:12,.0f}{median_ms:8.3f}")


if __name__ == "__main__":
    main()
