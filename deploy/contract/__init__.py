"""The contract between the service and a job: every document both sides read, and nothing else.

Owns the job spec, the result, the report, the events, the exit codes, the object layout, the
dataset format and the model-directory format. Pure data and pure functions: no network, no torch.
"""
