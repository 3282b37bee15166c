"""How a CPU computes convolutions and products of channels: forms that XLA's CPU compiler runs fast."""
