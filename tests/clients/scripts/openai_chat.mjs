import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.argv[2], apiKey: 'sk-stand-in', maxRetries: 0 });
const ask = { model: 'stand-in', messages: [{ role: 'user', content: 'Good evening?' }] };
console.log((await client.chat.completions.create(ask)).choices[0].message.content);
const words = [];
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
  words.push(chunk.choices[0].delta.content ?? '');
}
console.log(words.join('|'));
