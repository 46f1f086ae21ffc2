"""What only DTLS 1.2 has: its key schedule, record protection, messages, flights and both handshakes.

Layer: core (sans-IO).
"""
