"""Proposes plans, has them measured, and keeps what pays: within a budget where there is one."""
