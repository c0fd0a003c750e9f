"""Endpoints: models behind servers. What is wanted lies in rows; the reconciler makes it so."""
