// Written by otas-proxy. Node's own clients (http, https, fetch) use the proxy of the environment, on versions of Node that
// cannot by themselves. What a program chooses (an agent, a dispatcher) stays in force. If anything here
// fails, the program starts as without it.
'use strict';

const http = require('http');
const https = require('https');
const net = require('net');
const tls = require('tls');

// An IPv6 address in a URL has brackets; for a socket it has none.
const bare = (host) => host.replace(/^\[(.*)\]$/, '$1');
const variable = (name) => process.env[name] || process.env[name.toUpperCase()];

function proxyOf(secure) {
  const value = variable(secure ? 'https_proxy' : 'http_proxy') || variable('all_proxy');
  try {
    const proxy = new URL(value.includes('://') ? value : `http://${value}`);
    return proxy.protocol === 'http:' ? proxy : undefined;
  } catch {
    return undefined;
  }
}

const proxies = { true: proxyOf(true), false: proxyOf(false) };
const exceptions = (variable('no_proxy') || '').toLowerCase().split(/[\s,]+/).filter(Boolean);

// `name` and all names below it, `.name` and `*.name` alike; `*` is everything; `:port` after it is that port alone.
function isException(host, port) {
  return exceptions.some((entry) => {
    const withPort = /^([^:]*|\[.*\]):(\d+)$/.exec(entry);
    const name = bare(withPort ? withPort[1] : entry).replace(/^\*?\./, '');
    if (withPort && Number(withPort[2]) !== port) return false;
    return name === '*' || host === name || host.endsWith(`.${name}`);
  });
}

// The proxy for a call to this host, or undefined. Not for calls to the proxy itself: axios makes them by itself.
function proxyFor(secure, host, port) {
  const proxy = proxies[secure];
  const name = bare(host).toLowerCase();
  if (!proxy || isException(name, port)) return undefined;
  const isProxy = bare(proxy.hostname) === name && Number(proxy.port || 80) === port;
  return isProxy ? undefined : proxy;
}

const plainRequest = http.request;

// Calls back with an error, or with a connection to the host through the proxy.
function tunnel(proxy, host, port, done) {
  const target = `${net.isIPv6(host) ? `[${host}]` : host}:${port}`;
  const headers = { host: target };
  if (proxy.username || proxy.password) {
    const user = `${decodeURIComponent(proxy.username)}:${decodeURIComponent(proxy.password)}`;
    headers['proxy-authorization'] = `Basic ${Buffer.from(user).toString('base64')}`;
  }
  const createConnection = () => net.connect({ host: bare(proxy.hostname), port: Number(proxy.port || 80), noDelay: true });
  const asked = plainRequest({ method: 'CONNECT', path: target, headers, createConnection });
  asked.once('error', done);
  asked.once('connect', (answer, socket, head) => {
    if (answer.statusCode !== 200) {
      socket.destroy();
      done(new Error(`the proxy answered CONNECT ${target} with ${answer.statusCode} ${answer.statusMessage}`));
      return;
    }
    if (head.length > 0) socket.unshift(head);
    done(null, socket);
  });
  asked.end();
}

function throughProxy(Agent, secure) {
  return class extends Agent {
    createConnection(options, done) {
      const host = options.host || 'localhost';
      const proxy = options.socketPath ? undefined : proxyFor(secure, host, Number(options.port));
      if (!proxy) return super.createConnection(options, done);
      tunnel(proxy, bare(host), options.port, (error, socket) => {
        if (error || !secure) return done(error, socket);
        try {
          done(null, super.createConnection({ ...options, socket }));
        } catch (refused) {
          socket.destroy();
          done(refused);
        }
      });
      return undefined;
    }
  };
}

function asksForWebSocket(headers) {
  return Object.entries(headers || {}).some(([name, value]) => /^upgrade$/i.test(name) && /^websocket$/i.test(value));
}

// The package `ws` connects in its own way, without the global agent.
function connectsByAgent(argument) {
  const own = argument && argument.createConnection && !argument.agent && !argument.socketPath;
  return own && asksForWebSocket(argument.headers) ? { ...argument, createConnection: undefined } : argument;
}

function hookHttp() {
  for (const [module, secure] of [[http, false], [https, true]]) {
    const Agent = throughProxy(module.Agent, secure);
    module.globalAgent = new Agent({ ...module.globalAgent.options });
    for (const name of ['request', 'get']) {
      const original = module[name];
      const hooked = { [name]: (...given) => original(...given.map(connectsByAgent)) };
      module[name] = hooked[name];
    }
  }
  // For `import { request } from 'node:https'`.
  require('module').syncBuiltinESMExports();
}

// What fetch's dispatcher calls for a new connection.
function connectForFetch({ protocol, hostname, port, servername }, done) {
  const secure = protocol === 'https:';
  const host = bare(hostname);
  const at = Number(port) || (secure ? 443 : 80);
  tunnel(proxyFor(secure, host, at), host, at, (error, socket) => {
    if (error || !secure) return done(error, socket);
    const name = servername || (net.isIP(host) ? undefined : host);
    const inside = tls.connect({ socket, host, servername: name, ALPNProtocols: ['http/1.1'] });
    inside.once('error', done);
    inside.once('secureConnect', () => {
      inside.removeListener('error', done);
      done(null, inside);
    });
  });
}

function hookFetch() {
  const key = Symbol.for('undici.globalDispatcher.1');
  // Node loads its undici, and with it the dispatcher, when one of its classes is first used.
  const before = globalThis.Headers && globalThis[key];
  if (!before || before.constructor.name !== 'Agent') return;
  class Routed extends before.constructor {
    dispatch(options, handler) {
      const { protocol, hostname, port } = new URL(options.origin);
      const secure = protocol === 'https:';
      const routed = proxyFor(secure, hostname, Number(port) || (secure ? 443 : 80));
      return routed ? super.dispatch(options, handler) : before.dispatch(options, handler);
    }
  }
  globalThis[key] = new Routed({ connect: connectForFetch });
}

// What NODE_USE_ENV_PROXY does in this Node.
const [major, minor] = process.versions.node.split('.').map(Number);
const fetchIsTold = major >= 24 || (major === 22 && minor >= 21);
const httpIsTold = fetchIsTold && !(major === 24 && minor < 5);

const mark = Symbol.for('otas-proxy.preload');
if (!globalThis[mark] && (proxies[true] || proxies[false])) {
  Object.defineProperty(globalThis, mark, { value: true });
  try {
    if (!httpIsTold) hookHttp();
    if (!fetchIsTold) hookFetch();
  } catch {
    // The program keeps its own clients.
  }
}
