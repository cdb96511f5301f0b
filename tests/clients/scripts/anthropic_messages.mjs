import Anthropic from '@anthropic-ai/sdk';

const client = new Anthropic({ baseURL: process.argv[2], apiKey: 'sk-stand-in', maxRetries: 0 });
const ask = { model: 'stand-in', max_tokens: 99, messages: [{ role: 'user', content: 'Good evening?' }] };
const tool = { name: 'get_weather', input_schema: { type: 'object', properties: {} } };
console.log((await client.messages.create(ask)).content[0].text);
const words = [];
await client.messages.stream({ ...ask, tools: [tool] }).on('text', (word) => words.push(word)).finalMessage();
console.log(words.join('|'));
