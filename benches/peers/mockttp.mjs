// mockttp as a plain intercepting proxy: `mockttp.mjs PORT FOLDER`, with the CA in FOLDER.
import { readFileSync } from 'node:fs'
import { getLocal } from 'mockttp'

const [port, folder] = process.argv.slice(2)
const [key, cert] = ['ca.key', 'ca.pem'].map((name) => readFileSync(`${folder}/${name}`, 'utf8'))
const proxy = getLocal({ https: { key, cert }, recordTraffic: false, http2: false })
await proxy.forAnyRequest().thenPassThrough({ ignoreHostHttpsErrors: true })
await proxy.start(Number(port))
