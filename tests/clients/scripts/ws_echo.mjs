import WebSocket from 'ws';

const socket = new WebSocket(process.argv[2], { headers: { 'user-agent': 'stand-in/1' } });
const messages = ['hello', 'café ☕'];
socket.on('open', () => socket.send(messages.shift()));
socket.on('message', (message) => {
  console.log(message.toString());
  const next = messages.shift();
  if (next) socket.send(next);
  else socket.close();
});
