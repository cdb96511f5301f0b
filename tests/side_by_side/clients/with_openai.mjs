// OpenAI's SDK for Node: an answer read whole, and one read as a stream.

import OpenAI from 'openai';
import { kind, read, run } from './common.mjs';

const ask = { model: 'stand-in', messages: [{ role: 'user', content: 'Good evening?' }] };

await run(async (baseURL) => {
  const client = new OpenAI({ baseURL, apiKey: 'sk-stand-in', maxRetries: 0 });
  const whole = await read(client.chat.completions.create(ask).asResponse());
  const streamed = { pieces: [] };
  try {
    for await (const chunk of await client.chat.completions.create({ ...ask, stream: true })) {
      streamed.pieces.push(chunk.choices[0].delta.content);
    }
  } catch (error) {
    streamed.error = kind(error);
  }
  return { whole, streamed };
});
