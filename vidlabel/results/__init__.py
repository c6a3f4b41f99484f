"""Predictions as rows, tables and a ledger."""
