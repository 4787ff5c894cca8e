"""What a call means, whatever language it was written in: plain frozen values, stdlib and msgspec only."""
