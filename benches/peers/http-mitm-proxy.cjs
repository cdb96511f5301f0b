// http-mitm-proxy as a plain intercepting proxy: `http-mitm-proxy.cjs PORT FOLDER`; it makes its CA in FOLDER.
// The origin's certificate is not checked.
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'
const { Proxy } = require('http-mitm-proxy')

const [port, folder] = process.argv.slice(2)
// It would end at a broken connection otherwise.
const proxy = new Proxy().onError(() => {})
proxy.listen({ port: Number(port), host: '127.0.0.1', sslCaDir: folder, keepAlive: true })
