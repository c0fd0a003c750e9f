"""The object store: one protocol, two implementations (a directory, S3) that pass one conformance suite."""
