import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'sk-stand-in', maxRetries: 0 });
const ask = { model: 'stand-in', messages: [{ role: 'user', content: 'Good evening?' }] };
const tool = { type: 'function', function: { name: 'get_weather', parameters: { type: 'object', properties: {} } } };
console.log((await client.chat.completions.create(ask)).choices[0].message.content);
const words = [];
const streamed = { ...ask, tools: [tool], stream: true, stream_options: { include_usage: true } };
for await (const chunk of await client.chat.completions.create(streamed)) {
  words.push(chunk.choices[0]?.delta.content ?? '');
}
console.log(words.join('|'));
