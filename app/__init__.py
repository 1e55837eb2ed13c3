"""The gateway, an application. Start reading at `app/gateway/pipeline.py`."""
