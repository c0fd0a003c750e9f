"""What lies between the service and a job: the contract, the store, the launchers, the endpoints.

Imports nothing of ours outside ``deploy``; no torch.
"""
