"""Turns orders into invoices: validate, compute, number, print. `handler.handle` is what the queue calls."""
