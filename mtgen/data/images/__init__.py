"""Pictures: sprites, composed scenes and their captions."""
