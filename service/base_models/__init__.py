"""Base models: what jobs start from. Uploaded file by file, or named where they lie."""
