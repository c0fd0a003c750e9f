"""The database, rebuilt from the object store: what is recorded there beside the objects, and how it comes back."""
