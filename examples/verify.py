"""Was this made here? A text with its watermark, read again with the key that marked it."""

import mtgen

pipeline = mtgen.load()
generation = pipeline.text("Tell a story about a lighthouse.", temperature=1.0, max_new_tokens=80)
print(generation.marks)

by_hand = """It was a dark and stormy night, and the rain fell in torrents on the roofs of the town,
where nobody slept but an old clockmaker whose cat had eaten all his mice."""
for text in (generation.text, by_hand):
    found = pipeline.verify(text)
    print(found.verdict, found.p_value, found.summary, sep="\n", end="\n\n")
