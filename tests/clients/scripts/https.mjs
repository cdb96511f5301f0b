// By its name, as a program that imports it before anything else would.
import { request } from 'node:https';

const headers = { 'content-type': 'application/json', 'content-length': 12, 'user-agent': 'stand-in/1' };
const answer = await new Promise((done, failed) => {
  request(process.argv[2], { method: 'POST', headers }, done).on('error', failed).end('{"ask":"me"}');
});
console.log(answer.statusCode, Buffer.concat(await answer.toArray()).toString());
