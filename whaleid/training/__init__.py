"""How a network learns whales."""
