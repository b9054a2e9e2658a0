"""Linters: what a runtime would reject, misread or run slowly, told before anything is built."""
