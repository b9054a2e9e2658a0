"""Latency, memory and quality, measured on runners."""
