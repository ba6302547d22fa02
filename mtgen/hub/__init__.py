"""Other people's interfaces and models behind the same door."""
