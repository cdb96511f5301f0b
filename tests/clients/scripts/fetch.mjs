const answer = await fetch(process.argv[2], { method: 'POST', body: '{"ask":"me"}', headers: { 'content-type': 'application/json' } });
console.log(answer.status, await answer.text());
