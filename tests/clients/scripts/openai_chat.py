import sys
import openai

client = openai.OpenAI(base_url=sys.argv[1], api_key="sk-stand-in", max_retries=0)
ask = {"model": "stand-in", "messages": [{"role": "user", "content": "Good evening?"}]}
print(client.chat.completions.create(**ask).choices[0].message.content)
print("|".join(chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**ask, stream=True)))
