import sys
import anthropic

client = anthropic.Anthropic(base_url=sys.argv[1], api_key="sk-stand-in", max_retries=0, timeout=60)
ask = {"model": "stand-in", "max_tokens": 99, "messages": [{"role": "user", "content": "Good evening?"}]}
tool = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
print(client.messages.create(**ask).content[0].text)
with client.messages.stream(**ask, tools=[tool]) as stream:
    print("|".join(stream.text_stream))
