"""Our own door: resources under ``/v1``, problems as RFC 9457 has them, lists by cursor."""
