"""Calls the /text endpoint of a running page: python app.py, then this with its address."""

import sys

from gradio_client import Client

client = Client(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860", verbose=False)
answer = client.predict("Name a colour.", max_new_tokens=20, seed=7, api_name="/text")
print(answer["text"])
print(f"seed {answer['seed']}, {answer['timings']['num_new_tokens']} tokens")
