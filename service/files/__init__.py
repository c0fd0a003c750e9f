"""Files: datasets that users upload, and results that jobs leave."""
