// The same URL by http(s) and by fetch: what came, or what went wrong.
import http from 'node:http';
import https from 'node:https';

const url = process.argv[2];
const { get } = url.startsWith('https:') ? https : http;
const got = (answer, done) => {
  answer.resume();
  done(answer.statusCode);
};
console.log(await new Promise((done) => get(url, (answer) => got(answer, done)).on('error', (error) => done(error.message))));
console.log(await fetch(url).then((answer) => answer.status, (error) => error.cause?.message));
