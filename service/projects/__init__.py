"""Tenants: projects own everything, their API keys say who calls."""
