"""Agents, one file a kind."""
