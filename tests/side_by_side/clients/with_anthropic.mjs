// Anthropic's SDK for Node: an answer read whole, and one read as a stream.

import Anthropic from '@anthropic-ai/sdk';
import { kind, read, run } from './common.mjs';

const ask = { model: 'stand-in', max_tokens: 9, messages: [{ role: 'user', content: 'Good evening?' }] };

await run(async (baseURL) => {
  const client = new Anthropic({ baseURL, apiKey: 'sk-stand-in', maxRetries: 0 });
  const whole = await read(client.messages.create(ask).asResponse());
  const streamed = { pieces: [] };
  try {
    for await (const event of await client.messages.create({ ...ask, stream: true })) streamed.pieces.push(event.type);
  } catch (error) {
    streamed.error = kind(error);
  }
  return { whole, streamed };
});
