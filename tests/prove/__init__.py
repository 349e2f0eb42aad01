"""`scripts/prove`: all evidence for the protocol in one run, and that it can tell right from wrong."""
