"""The fault harness: real servers and real daemons, broken for real, and a ledger that counts."""
