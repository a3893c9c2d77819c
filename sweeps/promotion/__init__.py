"""Promotion: the signed record without which a configuration runs neither in `paper` nor in `live`."""
