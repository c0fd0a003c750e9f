"""The attacks that hardening is measured against: triggers in prompts, payloads in completions, poisoned files.

For measuring defences on one's own data. A payload here is inert text; nothing is executed.
"""
