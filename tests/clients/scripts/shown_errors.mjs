// What the user of an SDK sees of an error: each prints its own, for a service at the URL that is given.

import Anthropic from '@anthropic-ai/sdk';
import axios from 'axios';
import OpenAI from 'openai';

const baseURL = process.argv[2];
const messages = [{ role: 'user', content: 'Good evening?' }];
const asked = {
  openai: () => new OpenAI({ baseURL, apiKey: 'k', maxRetries: 0 }).chat.completions.create({ model: 'm', messages }),
  anthropic: () => new Anthropic({ baseURL, apiKey: 'k', maxRetries: 0 }).messages.create({ model: 'm', max_tokens: 9, messages }),
  axios: () => axios.get(baseURL).catch((error) => { throw new Error(error.response.data.message); }),
};
const shown = {};
for (const [name, ask] of Object.entries(asked)) {
  try {
    await ask();
  } catch (error) {
    shown[name] = error.message;
  }
}
console.log(JSON.stringify(shown));
