// A program that chooses its own way out: through an agent, and through a dispatcher.
import https from 'node:https';
import { Agent, fetch as ownFetch } from 'undici';

const agent = new https.Agent();
const answer = await new Promise((done, failed) => https.get(process.argv[2], { agent }, done).on('error', failed));
answer.resume();
const fetched = await ownFetch(process.argv[2], { dispatcher: new Agent() });
console.log(answer.statusCode, fetched.status);
