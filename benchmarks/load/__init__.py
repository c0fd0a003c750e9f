"""What one process of the service bears: requests, uploads and long tables, with a real PostgreSQL and a real uvicorn."""
