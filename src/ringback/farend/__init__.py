"""The carrier in the box: answers real SIP calls by the last two digits of the callee."""
