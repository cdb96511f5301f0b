import axios from 'axios';

const answer = await axios.post(process.argv[2], '{"ask":"me"}', {
  headers: { 'content-type': 'application/json' },
  transformResponse: (text) => text,
});
console.log(answer.status, answer.data);
