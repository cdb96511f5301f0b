import { EnvHttpProxyAgent, request } from 'undici';

const answer = await request(process.argv[2], {
  method: 'POST',
  body: '{"ask":"me"}',
  headers: { 'content-type': 'application/json', 'user-agent': 'stand-in/1' },
  dispatcher: new EnvHttpProxyAgent(),
});
console.log(answer.statusCode, await answer.body.text());
