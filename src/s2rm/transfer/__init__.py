"""Downloads over HTTP that continue after an interruption and try several mirrors."""
