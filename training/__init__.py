"""What runs inside a job, and a library on its own: losses, data, the loop, attacks, metrics, probing.

Imports ``deploy.contract`` and ``deploy.store`` of ours and nothing else.
"""
