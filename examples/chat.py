"""Streams an answer, stops it early, and makes it again from its seed."""

import mtgen

pipeline = mtgen.load()
request = mtgen.TextRequest(prompt="Tell me about the moon.", max_new_tokens=40, temperature=0.7)

stream = pipeline.text_stream(request)
for count, piece in enumerate(stream):
    print(piece, end="", flush=True)
    if count == 20:
        stream.stop()

first = stream.generation
print(f"\n[{first.finish_reason} after {first.timings.num_new_tokens} tokens, seed {first.seed}]")

again = pipeline.text(first.request)
assert again.text.startswith(first.text)
print(again.text)
