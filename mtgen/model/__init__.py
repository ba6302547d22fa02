"""The shared trunk: where its weights come from, its shapes, its tokenizer, its sampling."""
