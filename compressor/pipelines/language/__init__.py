"""Decoders of tokens: their caches, what they are fed step by step, and the choice of a token."""
