"""What only DTLS 1.3 has: its key schedule, record protection, messages, flights and both handshakes.

Layer: core (sans-IO).
"""
