"""The Asterisk engine: calls placed by one or several Asterisk servers, commanded over ARI."""
