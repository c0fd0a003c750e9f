"""The reconciler: compares what is wanted with what is there, and takes one step towards it.

:mod:`service.reconcile.tick` and :mod:`service.reconcile.serving` decide and touch nothing;
:mod:`service.reconcile.loop` looks and acts and decides nothing.
"""
