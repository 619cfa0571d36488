"""The embedded SIP engine: real SIP and RTP calls out of this program, without a switch beside it."""
