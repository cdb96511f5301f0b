//! Texts without a secret that look as if they had one: code, lock files, logs, diffs, prose, images, ids, placeholders.

use std::fmt::Write as _;

use serde_json::json;

use super::kinds::{ALNUM, BASE64, HEX, Numbers, WORD};

type Form = fn(&mut Numbers) -> String;

const FORMS: &[(&str, Form)] = &[
    ("Python that handles passwords", |n| {
        format!(
            "def login(self, user, password=None, *, token=None):\n    if password is None:\n        raise ValueError('password')\n    \
             self.token = token or self.session.get_token(user)\n    password = hash_password(password, salt=self.salt)\n    \
             key = self.keys[{}]\n    return self.client.post('/login', json={{'password': password, 'token': self.token}})\n",
            n.next() % 100
        )
    }),
    ("JavaScript that handles tokens", |n| {
        format!(
            "export async function refresh(token) {{\n  const apiKey = process.env.API_KEY;\n  const secret = await getSecret('db-{0}');\n  \
             const res = await fetch(`${{base}}/token?key=${{apiKey}}`, {{ headers: {{ Authorization: `Bearer ${{token}}` }} }});\n  \
             if (!res.ok) throw new Error(`bad token: ${{res.status}}`);\n  cache.set('token:{0}', token);\n  return {{ accessToken: token, password: undefined }};\n}}\n",
            n.next() % 1000
        )
    }),
    ("Rust that handles keys", |n| {
        format!(
            "pub struct Auth {{ api_key: Option<String>, password: SecretString }}\n\nimpl Auth {{\n    fn key(&self) -> &str {{ self.api_key.as_deref().unwrap_or_default() }}\n    \
             fn with_token(mut self, token: impl Into<String>) -> Self {{ self.token = token.into(); self }}\n}}\nconst KEY_BYTES: usize = {};\nlet token = tokens.next()?;\nlet key = map.keys().next();\n",
            n.next() % 64
        )
    }),
    ("Go that handles secrets", |n| {
        format!(
            "type Config struct {{\n\tAPIKey string `json:\"api_key\"`\n\tPassword string `yaml:\"password\"`\n}}\n\nfunc New(token string) *Client {{\n\tsecret := os.Getenv(\"APP_SECRET_{}\")\n\t\
             return &Client{{token: token, secret: secret, password: cfg.Password}}\n}}\n",
            n.next() % 10
        )
    }),
    ("Java that handles passwords", |n| {
        format!(
            "@Value(\"${{spring.datasource.password}}\")\nprivate String password;\n\npublic void setPassword(final String password) {{\n    this.password = passwordEncoder.encode(password);\n    \
             log.info(\"password of user {{}} changed\", userId{});\n}}\n",
            n.next() % 10
        )
    }),
    ("TypeScript types", |n| {
        format!(
            "interface Session {{\n  id: string;\n  token: string | null;\n  apiKey?: string;\n  password: string;\n  expiresAt: number;\n}}\nconst tokenTypes{}: TokenType[] = ['access_token', 'refresh_token', 'id_token'];\n",
            n.next() % 10
        )
    }),
    ("environment references", |n| {
        format!(
            "services:\n  app{}:\n    environment:\n      - API_KEY=${{API_KEY}}\n      - DB_PASSWORD=$DB_PASSWORD\n      SECRET_KEY: ${{SECRET_KEY:?missing}}\n      TOKEN: ${{{{ secrets.GITHUB_TOKEN }}}}\n",
            n.next() % 10
        )
    }),
    ("workflow", |n| {
        format!(
            "jobs:\n  release:\n    permissions:\n      id-token: write\n    steps:\n      - uses: actions/checkout@{}\n        with:\n          token: ${{{{ secrets.RELEASE_TOKEN }}}}\n      - run: npm publish\n        env:\n          NODE_AUTH_TOKEN: ${{{{ secrets.NPM_TOKEN }}}}\n",
            n.of(HEX, 40)
        )
    }),
    ("placeholders", |n| {
        let all = [
            "OPENAI_API_KEY=your-api-key-here\nPASSWORD=<password>\nTOKEN=xxxxxxxxxxxxxxxx\nSECRET=changeme\n",
            "api_key = \"YOUR_API_KEY\"\npassword = \"********\"\ntoken = \"<your-token>\"\n",
            "curl -H \"Authorization: Bearer $TOKEN\" -H 'X-Api-Key: YOUR_KEY' https://api.example.com\n",
            "client = OpenAI(api_key=os.environ[\"OPENAI_API_KEY\"])\npassword=getpass.getpass()\n",
            "export ANTHROPIC_API_KEY=sk-ant-...\nexport GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        ];
        all[n.next() as usize % all.len()].to_owned()
    }),
    ("Cargo.lock", |n| {
        (0..8).fold(String::new(), |mut text, at| {
            write!(
                text,
                "[[package]]\nname = \"token-{at}\"\nversion = \"1.{}.0\"\nsource = \"registry+https://example.com/index\"\nchecksum = \"{}\"\n\n",
                n.next() % 50,
                n.of(HEX, 64)
            )
            .unwrap();
            text
        })
    }),
    ("package-lock.json", |n| {
        json!({ "lockfileVersion": 3, "packages": { "node_modules/js-tokens": {
            "version": "4.0.0", "resolved": "https://registry.example.com/js-tokens/-/js-tokens-4.0.0.tgz",
            "integrity": format!("sha512-{}==", n.of(BASE64, 86)), "license": "MIT" } } })
        .to_string()
    }),
    ("go.sum", |n| {
        format!(
            "golang.org/x/crypto v0.31.0 h1:{}=\ngolang.org/x/oauth2 v0.24.0/go.mod h1:{}=\n",
            n.of(BASE64, 43),
            n.of(BASE64, 43)
        )
    }),
    ("poetry.lock", |n| {
        format!(
            "[[package]]\nname = \"keyring\"\nversion = \"25.5.0\"\nfiles = [\n    {{file = \"keyring-25.5.0.tar.gz\", hash = \"sha256:{}\"}},\n]\n",
            n.of(HEX, 64)
        )
    }),
    ("git log", |n| {
        format!(
            "commit {}\nAuthor: Ada <ada@example.com>\nDate:   Sat Nov 28 12:00:00 2026\n\n    Tokens are refreshed; the key of the cache has the session in it\n\n {} | {}++\n",
            n.of(HEX, 40),
            n.of(HEX, 7),
            n.next() % 90
        )
    }),
    ("diff", |n| {
        format!(
            "diff --git a/auth.py b/auth.py\nindex {}..{} 100644\n--- a/auth.py\n+++ b/auth.py\n@@ -1,3 +1,3 @@\n-    token = get_token()\n+    token = self.tokens[session.key]\n     if password is None:\n",
            n.of(HEX, 7),
            n.of(HEX, 7)
        )
    }),
    ("access log", |n| {
        (0..5).fold(String::new(), |mut text, _| {
            writeln!(
                text,
                "203.0.113.{} - - [29/Nov/2026:01:02:03 +0000] \"GET /login?next=/token&page={} HTTP/1.1\" 200 {} \"-\" \"Mozilla/5.0\" request_id={}",
                n.next() % 255, n.next() % 20, n.next() % 9000, n.of(HEX, 32)
            )
            .unwrap();
            text
        })
    }),
    ("structured log", |n| {
        format!(
            "2026-11-29T01:02:03.{:03}Z INFO auth: token expired user=ada session=closed key=user:{} tokens=120 trace_id={} span_id={}\n",
            n.next() % 1000,
            n.next() % 9999,
            n.of(HEX, 32),
            n.of(HEX, 16)
        )
    }),
    ("usage of a model", |n| {
        json!({ "id": format!("chatcmpl-{}", n.of(ALNUM, 29)), "object": "chat.completion", "created": 1_795_000_000,
            "usage": { "prompt_tokens": n.next() % 9000, "completion_tokens": 30, "total_tokens": 150, "completion_tokens_details": { "reasoning_tokens": 5 } },
            "system_fingerprint": format!("fp_{}", n.of(HEX, 10)), "service_tier": "default" })
        .to_string()
    }),
    ("tool calls", |n| {
        json!({ "choices": [{ "message": { "tool_calls": [{ "id": format!("call_{}", n.of(ALNUM, 24)), "type": "function",
            "function": { "name": "read_file", "arguments": json!({ "path": "src/token.rs", "offset": n.next() % 100 }).to_string() } }] } }] })
        .to_string()
    }),
    ("JSON schema", |n| {
        json!({ "type": "object", "properties": {
            "password": { "type": "string", "description": "The password", "minLength": n.next() % 20 },
            "api_key": { "type": "string", "format": "password", "title": "API key" },
            "token": { "$ref": "#/definitions/Token" } }, "required": ["password", "token", "api_key"] })
        .to_string()
    }),
    ("OpenAPI", |n| {
        format!(
            "securitySchemes:\n  apiKey{}:\n    type: apiKey\n    in: header\n    name: X-Api-Key\n  bearer:\n    type: http\n    scheme: bearer\n    bearerFormat: JWT\n",
            n.next() % 10
        )
    }),
    ("page tokens", |n| {
        json!({ "items": [], "nextPageToken": n.of(WORD, 24), "next_page_token": n.of(ALNUM, 20), "sync_token": n.of(ALNUM, 20), "etag": format!("\"{}\"", n.of(HEX, 32)) }).to_string()
    }),
    ("unique ids", |n| {
        let mut id =
            || format!("{}-{}-4{}-a{}-{}", n.of(HEX, 8), n.of(HEX, 4), n.of(HEX, 3), n.of(HEX, 3), n.of(HEX, 12));
        json!({ "id": id(), "user_id": id(), "request_id": id(), "items": [id(), id()], "trace": id() }).to_string()
    }),
    ("identity of an agent", |n| {
        json!({ "metadata": { "user_id": json!({ "device_id": n.of(HEX, 64), "session_id": format!("{}-1111-4222-a333-444455556666", n.of(HEX, 8)) }).to_string() },
            "thread_id": n.of(HEX, 32), "prompt_cache_key": n.of(HEX, 32) })
        .to_string()
    }),
    ("image", |n| format!("![plot](data:image/png;base64,{})", n.of(BASE64, 4000))),
    ("base64 in JSON", |n| json!({ "mime_type": "image/png", "data": n.of(BASE64, 3000) }).to_string()),
    ("embeddings", |n| {
        let values: Vec<f64> = (0..64).map(|_| (n.next() % 2_000_000) as f64 / 1e6 - 1.0).collect();
        json!({ "object": "list", "data": [{ "index": 0, "embedding": values }], "model": "text-embedding-3-small" })
            .to_string()
    }),
    ("log probabilities", |n| {
        json!({ "logprobs": { "content": [{ "token": " Hello", "logprob": -0.25, "bytes": [32, 72], "top_logprobs": [{ "token": "tokenization", "logprob": -(n.next() as f64) / 1e9 }] }] } }).to_string()
    }),
    ("minified JavaScript", |n| {
        format!(
            "!function(e,t){{var n={{}};n.token=function(e){{return e.key||t[e.token]}},n.auth=e=>({{key:e.k,secret:t.s}}),e.pass=n.{0};for(var r=0,o=e.keys;r<o.length;r++)n[o[r]]=t.password?t.password:e.{0}[r]}}(window,{{a:\"{1}\"}});",
            ["a", "b", "c"][n.next() as usize % 3],
            n.of(ALNUM, 8)
        )
    }),
    ("style sheet", |n| {
        format!(
            ".sk-fading-circle-container{{color:#{}}}\n.sk-cube-grid-{}{{animation-delay:.2s}}\n.task-list{{margin:0}}\ninput[type=password]:focus{{outline:0}}\n",
            n.of(HEX, 6),
            n.next() % 9
        )
    }),
    ("prose about secrets", |n| {
        format!(
            "In this session we keep the secret of a good token economy: a password is what one knows, a key is what one has. The bearer of bad news had no credentials. The password is required. \
             Your API key is missing; the token is invalid, expired or revoked. Passwords must have at least {} characters. \"What is the code?\" he asked. The secret is out: basic training begins at 9:30.",
            n.next() % 20
        )
    }),
    ("results of tests", |n| {
        format!(
            "pass: {0} fail: 0\n{{\"pass\": true, \"passes\": {0}}}\nrender pass: shadows\n.pass{{color:red}}\npass: \"second\"\ncheck(pass=True)\n",
            n.next() % 90
        )
    }),
    ("prose about passwords of others", |n| {
        format!(
            "The password for guests is printed on the receipt. The password of user {0} was changed. Zip it: zip -r out.zip docs. echo done | sort; printf '%s' x\n\
             The token for page {0} is next. rclone obscure password. net use Z: /user:ada\ncontraseña: obligatoria. Mot de passe : requis.\n",
            n.next() % 90
        )
    }),
    ("names in code as defaults", |n| {
        format!(
            "key = os.environ.get('API_KEY', 'getDefaultApiKeyFromStore')\npassword = config.get('password', 'PasswordEncoderFactoryBean{}')\n",
            ["", "Impl", "Proxy"][n.next() as usize % 3]
        )
    }),
    ("German prose", |n| {
        format!(
            "Das Passwort ist abgelaufen. Bitte geben Sie Ihr neues Passwort ein ({} Zeichen). Der Schlüssel liegt unter der Matte, Token sind knapp.",
            n.next() % 20
        )
    }),
    ("documentation", |n| {
        format!(
            "## Authentication\n\nSet `OPENAI_API_KEY` or pass `--api-key KEY`. The `token` parameter is optional (default: `None`). Use `password: str` for the login.\n\n| option | meaning |\n|---|---|\n| `--token TOKEN` | the token to use |\n| `--password-file FILE` | a file with the password |\n| `--key-size BITS` | {} |\n",
            1024 + n.next() % 4
        )
    }),
    ("help text", |n| {
        format!(
            "Usage: tool [OPTIONS]\n\nOptions:\n  -p, --password <PASSWORD>  password of the user\n  -u, --user <USER:PASSWORD>\n  -t, --token <TOKEN>        [env: TOOL_TOKEN=]\n  -k, --key-file <FILE>      [default: ~/.ssh/id_{}]\n",
            n.of("0123456789", 2)
        )
    }),
    ("error messages", |n| {
        json!({ "error": { "message": "Incorrect API key provided. You can find your API key at https://platform.example.com/account/api-keys.", "type": "invalid_request_error", "code": "invalid_api_key", "param": null, "request_id": format!("req_{}", n.of(HEX, 24)) } }).to_string()
    }),
    ("SQL", |n| {
        format!(
            "CREATE TABLE users (id BIGINT PRIMARY KEY, email TEXT NOT NULL, password_hash TEXT, api_key_id INT REFERENCES keys(id));\nSELECT token, key FROM sessions WHERE session_id = ? AND password IS NOT NULL LIMIT {};\n",
            n.next() % 100
        )
    }),
    ("prices", |n| {
        format!(
            "model,input_per_mtok,output_per_mtok,cache_key\nlarge,{}.{},15.00,none\nsmall,0.25,1.25,none\n",
            n.next() % 9,
            n.next() % 99
        )
    }),
    ("CSV", |n| {
        (0..6).fold("id,name,key,amount\n".to_owned(), |mut text, at| {
            writeln!(text, "{at},row {at},k{},{}.50", n.next() % 100, n.next() % 1000).unwrap();
            text
        })
    }),
    ("Kubernetes references", |n| {
        format!(
            "env:\n- name: DB_PASSWORD\n  valueFrom:\n    secretKeyRef:\n      name: db-{}\n      key: password\n- name: LOG_LEVEL\n  value: info\nimagePullSecrets:\n- name: registry\nserviceAccountToken:\n  path: token\n  expirationSeconds: 3600\n",
            n.next() % 100
        )
    }),
    ("Terraform references", |n| {
        format!(
            "resource \"aws_db_instance\" \"db{}\" {{\n  password = var.db_password\n  username = data.vault_generic_secret.db.data[\"username\"]\n  kms_key_id = aws_kms_key.main.arn\n}}\n",
            n.next() % 10
        )
    }),
    ("tests of another program", |n| {
        format!(
            "it('rejects a wrong password', async () => {{\n  const token = await login({{ user: 'ada', password }});\n  expect(token).toBeNull();\n  expect(tokens.length).toBe({});\n}});\n",
            n.next() % 10
        )
    }),
    ("HTML form", |n| {
        format!(
            "<label for=\"password\">Password</label>\n<input type=\"password\" name=\"password\" id=\"pw{}\" autocomplete=\"current-password\" required>\n<input name=\"token\" type=\"text\" value=\"\">\n",
            n.next() % 10
        )
    }),
    ("XML schema", |n| {
        format!(
            "<xs:element name=\"password\" type=\"xs:string\" minOccurs=\"{}\"/>\n<token>${{env.TOKEN}}</token>\n<password/>\n",
            n.next() % 2
        )
    }),
    ("public keys and certificates", |n| {
        format!(
            "ssh-ed25519 {} ada@example.com\n-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\nfingerprint: SHA256:{}\n",
            n.of(BASE64, 68),
            n.of(BASE64, 64),
            n.of(BASE64, 43)
        )
    }),
    ("hashes", |n| {
        (0..6).fold(String::new(), |mut text, at| {
            writeln!(text, "{}  file-{at}.tar.gz", n.of(HEX, 64)).unwrap();
            text
        })
    }),
    ("URLs without credentials", |n| {
        format!(
            "see https://example.com/docs/api-keys?lang=en&page={} and postgres://localhost:5432/shop, redis://cache:6379/0, ssh://git@example.com/app.git\n",
            n.next() % 30
        )
    }),
    ("cargo output", |n| {
        format!(
            "   Compiling secrecy v0.10.{}\n   Compiling token-bucket v0.1.0\n    Finished `dev` profile in 3.2s\n     Running unittests src/lib.rs (target/debug/deps/keys-{})\ntest auth::token_is_refreshed ... ok\n",
            n.next() % 9,
            n.of(HEX, 16)
        )
    }),
    ("stack trace", |n| {
        format!(
            "Traceback (most recent call last):\n  File \"/app/auth.py\", line {}, in login\n    token = self.client.token(password=password)\nKeyError: 'api_key'\n",
            n.next() % 300
        )
    }),
    ("shell script", |n| {
        format!(
            "#!/bin/sh\nset -eu\nTOKEN=$(cat /run/secrets/token)\nPASSWORD=\"$1\"\nread -rsp 'Password: ' PASSWORD\n: \"${{API_KEY:?set API_KEY}}\"\nif [ -z \"$SECRET\" ]; then exit {}; fi\ncurl -u \"$USER:$PASSWORD\" \"$URL\"\n",
            n.next() % 9
        )
    }),
    ("Makefile", |n| {
        format!(
            "TOKEN ?= $(shell cat .token)\nKEY := $(HOME)/.ssh/id_ed25519\nrelease:\n\tdocker login -u $(USER) -p $(PASSWORD)\n\tsleep {}\n",
            n.next() % 9
        )
    }),
    ("file listing", |n| {
        format!(
            "-rw-r--r-- 1 root root {} Nov 29 01:02 password_reset.html\n-rw-r--r-- 1 root root 120 Nov 29 01:02 api-keys.md\ndrwxr-xr-x 2 root root 40 Nov 29 01:02 secrets\n",
            n.next() % 9999
        )
    }),
    ("environment of a build", |n| {
        format!(
            "PWD=/home/ada/app\nOLDPWD=/home/ada\nSHELL=/bin/bash\nSSH_AUTH_SOCK=/run/user/1000/ssh-agent.{}\nKEYBOARD_LAYOUT=de\nAUTHOR=Ada\nPASSENGERS=12\nTOKENIZERS_PARALLELISM=false\nMAX_TOKENS=4096\nSESSION_TIMEOUT=3600\nXDG_SESSION_ID=c2\nXDG_SESSION_TYPE=wayland\n",
            n.next() % 9999
        )
    }),
    ("checksums of pods", |n| {
        format!(
            "SPEC CHECKSUMS:\n  Datadog: {}\n  Sentry: {}\n  Mapbox-iOS-SDK: {}\n  OneSignal: {}\n\nPODFILE CHECKSUM: {}\n",
            n.of(HEX, 40),
            n.of(HEX, 40),
            n.of(HEX, 40),
            n.of(HEX, 40),
            n.of(HEX, 40)
        )
    }),
    ("ids at services", |n| {
        json!({ "heroku_app_id": format!("{}-1111-4222-a333-444455556666", n.of(HEX, 8)), "datadog_trace_id": n.of(HEX, 32),
            "sentry_release": n.of(HEX, 40), "twilio_account_sid": format!("AC{}", n.of(HEX, 32)), "mailchimp_list_id": n.of(HEX, 10),
            "vercel_project_id": format!("prj_{}", n.of(ALNUM, 24)), "spotify_track_id": n.of(ALNUM, 22), "trello_board_id": n.of(HEX, 24) })
        .to_string()
    }),
    ("names of services", |n| {
        format!(
            "Alerts go to Datadog: see the dashboard. Heroku, Netlify and Vercel deploy it; Twilio key rotation is due on day {}. cloudflare-worker, okta-auth-js, \
             sentry.captureException(error), spotify.token.refresh(), import datadog from 'datadog-metrics'; DATADOG_API_KEY=$DATADOG_API_KEY heroku config:get API\n",
            n.next() % 30
        )
    }),
    ("dollars and braces", |n| {
        format!(
            "echo \"$1$2\" | sed 's/\\(a\\)/$1$6$/'; price: $5$ or $6$ for {} items; String.format(\"%1$s and %2$d\", a, b); s.replace(re, '$1$$2$y$7$')\n",
            n.next() % 90
        )
    }),
    ("short beginnings", |n| {
        format!(
            "pat.name sat.date sl.item b_key k_means NF-kappa A3-paper 1000.50 v1.0-beta.{} sk_buff pk_column api_organisation cio_vendor \
             ion-content sgp_index sm_patient 4b1d{} oy2_value {} hvs.size tkn.value na1.example.com fm2_radio\n",
            n.next() % 9,
            n.of(HEX, 8),
            n.of("0123456789ABCDEFGHJKMNPQRSTVWXYZ", 26)
        )
    }),
];

/// Ten of each.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    for (seed, (name, make)) in FORMS.iter().enumerate() {
        for copy in 0..10 {
            all.push((*name, make(&mut Numbers::from((seed * 100 + copy) as u64 + 7))));
        }
    }
    all
}
