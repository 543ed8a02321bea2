"""serve: a small web page for one trained model. Needs the extra `serve` (starlette, uvicorn)."""
