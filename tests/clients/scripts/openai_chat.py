import sys
import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-stand-in", max_retries=0, timeout=60)
ask = {"model": "stand-in", "messages": [{"role": "user", "content": "Good evening?"}]}
tool = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
streamed = {**ask, "tools": [tool], "stream": True, "stream_options": {"include_usage": True}}
print(client.chat.completions.create(**ask).choices[0].message.content)
words = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**streamed) if chunk.choices]
print("|".join(words))
