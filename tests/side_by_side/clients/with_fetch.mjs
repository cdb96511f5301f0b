// Node's fetch.

import { read, run } from './common.mjs';

await run((url) => read(fetch(url)));
