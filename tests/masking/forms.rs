//! The forms in which agents' texts carry secrets.

use serde_json::{Value, json};

use super::kinds::{self, Secret};

/// A text with one secret.
pub(crate) struct Planted {
    pub(crate) form: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    /// The secret as it stands in the text.
    pub(crate) traced: String,
}

/// A form: from a secret to a text.
type Form = fn(&Secret) -> String;

/// Those in which the secret stands as it is.
const FORMS: &[(&str, Form)] = &[
    (".env", |s| format!("# settings\nDEBUG=1\n{}={}\nPORT=8080\n", s.variable, s.value)),
    (".env in quotes", |s| format!("DEBUG=1\n{}=\"{}\"\nPORT=8080\n", s.variable, s.value)),
    ("export", |s| format!("cd /srv/app\nexport {}={}\nmake run\n", s.variable, s.value)),
    ("fish", |s| format!("set -gx {} {}\nset -gx EDITOR vim\n", s.variable, s.value)),
    ("PowerShell", |s| format!("$env:{} = \"{}\"\npython app.py\n", s.variable, s.value)),
    ("cmd.exe", |s| format!("set {}={}\r\npython app.py\r\n", s.variable, s.value)),
    ("variable before a command", |s| format!("$ {}={} ./deploy.sh --now", s.variable, s.value)),
    ("JSON member", |s| json!({ "user": "ada", s.member: s.value, "active": true }).to_string()),
    ("JSON, deep", |s| json!({ "a": [{ "b": { s.member: s.value, "n": 3 } }] }).to_string()),
    ("JSON, pretty", |s| serde_json::to_string_pretty(&json!({ "db": { s.member: s.value } })).unwrap()),
    (".env in a JSON string", |s| {
        let content = format!("DEBUG=1\n{}={}\nPORT=8080\n", s.variable, s.value);
        chat(&content)
    }),
    ("first in a JSON string", |s| json!({ "content": format!("{}={}", s.variable, s.value) }).to_string()),
    ("JSON in a JSON string", |s| {
        chat(&format!("Here it is:\n```json\n{}\n```\nThanks", json!({ s.member: s.value, "x": 1 })))
    }),
    ("JSON in JSON in JSON", |s| {
        let inner = json!({ s.member: s.value }).to_string();
        json!({ "arguments": json!({ "body": inner }).to_string() }).to_string()
    }),
    ("JSON in an event stream", |s| {
        let text = json!({ "delta": { "text": format!("{}: {}\n", s.variable, s.value) } });
        format!("event: delta\ndata: {text}\n\nevent: stop\ndata: {{}}\n\n")
    }),
    ("event stream in pieces", |s| {
        let whole = format!("The file says {}={} and more.", s.variable, s.value);
        whole.as_bytes().chunks(5).fold(String::new(), |text, piece| {
            let piece = json!({ "delta": { "text": String::from_utf8_lossy(piece) } });
            text + &format!("data: {piece}\n\n")
        })
    }),
    ("array of pieces", |s| {
        let whole = format!("Use {}={} here.", s.variable, s.value);
        let pieces: Vec<Value> = whole
            .as_bytes()
            .chunks(7)
            .map(|piece| json!({ "candidates": [{ "content": { "parts": [{ "text": String::from_utf8_lossy(piece) }] } }] }))
            .collect();
        serde_json::to_string_pretty(&pieces).unwrap()
    }),
    ("plain event stream in pieces", |s| {
        let whole = format!("{}={}", s.variable, s.value);
        whole
            .as_bytes()
            .chunks(6)
            .fold(String::new(), |text, piece| text + &format!("data: {}\n\n", String::from_utf8_lossy(piece)))
    }),
    ("lines of one event", |s| {
        format!("event: message\ndata: {{\"name\": \"x\",\ndata: \"{}\":\ndata: \"{}\"}}\n\n", s.member, s.value)
    }),
    ("YAML", |s| format!("database:\n  host: db.internal\n  {}: {}\n  pool: 5\n", s.member, s.value)),
    ("YAML in quotes", |s| format!("database:\n  host: db.internal\n  {}: '{}'\n  pool: 5\n", s.member, s.value)),
    ("YAML of a pod", |s| {
        format!(
            "    env:\n    - name: {}\n      value: {}\n    - name: PORT\n      value: \"80\"\n",
            s.variable, s.value
        )
    }),
    ("YAML of compose", |s| format!("    environment:\n      - {}={}\n      - PORT=80\n", s.variable, s.value)),
    ("TOML", |s| format!("[auth]\n{} = \"{}\"\nretries = 3\n", s.member, s.value)),
    ("INI", |s| format!("[client]\nuser = root\n{} = {}\nport = 3306\n", s.member, s.value)),
    ("properties", |s| format!("spring.datasource.{}={}\nspring.datasource.url=x\n", s.member, s.value)),
    ("docker run -e", |s| format!("docker run --rm -e {}={} -p 80:80 app:1.2", s.variable, s.value)),
    ("docker run in JSON", |s| {
        json!({ "command": format!("docker run -e \"{}={}\" app", s.variable, s.value) }).to_string()
    }),
    ("Dockerfile ENV", |s| format!("FROM debian:12\nENV {} {}\nRUN make\n", s.variable, s.value)),
    ("Dockerfile ARG", |s| format!("FROM debian:12\nARG {}={}\nRUN make\n", s.variable, s.value)),
    ("curl -H", |s| format!("curl -sS -H \"X-Api-Key: {}\" https://api.example.com/v1/items", s.value)),
    ("curl -H in JSON", |s| {
        json!({ "command": format!("curl -H \"X-Api-Key: {}\" https://api.example.com", s.value) }).to_string()
    }),
    ("curl -H Bearer", |s| format!("curl -H 'Authorization: Bearer {}' https://api.example.com/", s.value)),
    ("curl -u", |s| format!("curl -u admin:{} https://api.example.com/v1/items", s.value)),
    ("curl --user in JSON", |s| {
        json!({ "cmd": ["curl", "--user", format!("admin:{}", s.value), "https://api.example.com"] }).to_string()
    }),
    ("Authorization: token", |s| {
        format!("GET /user HTTP/1.1\nHost: x\nAuthorization: token {}\nAccept: */*\n", s.value)
    }),
    ("header field with _", |s| format!("Host: api.example.com\nx_api_key: {}\nAccept: */*\n", s.value)),
    ("field in a transcript", |s| format!("> GET / HTTP/1.1\n> X-Auth-Token: {}\n> Accept: */*\n", s.value)),
    ("flag with =", |s| format!("./server --port=80 --password={} --verbose", s.value)),
    ("flag with a space", |s| format!("./server --port 80 --api-key {} --verbose", s.value)),
    ("flag in an array", |s| json!(["server", format!("--password={}", s.value), "--verbose"]).to_string()),
    ("flag and value in an array", |s| json!(["server", "--api-key", s.value, "--verbose"]).to_string()),
    ("mysql -p", |s| format!("mysql -h db -u root -p{} shop < dump.sql", s.value)),
    ("sshpass", |s| format!("sshpass -p {} ssh deploy@host.example.com uptime", s.value)),
    ("redis-cli -a", |s| format!("redis-cli -h cache -a {} ping", s.value)),
    ("docker login", |s| format!("docker login -u ada -p {} registry.example.com", s.value)),
    ("ldapsearch -w", |s| format!("ldapsearch -D cn=admin -w {} -b dc=example", s.value)),
    ("docker login from a pipe", |s| {
        format!("echo '{}' | docker login -u ada --password-stdin r.example.com", s.value)
    }),
    ("gh secret set", |s| format!("gh secret set DEPLOY --body {} --repo ada/app", s.value)),
    ("net use", |s| format!("net use Z: \\\\srv\\share /user:ada {} /persistent:yes", s.value)),
    ("rclone obscure", |s| format!("rclone obscure {}", s.value)),
    ("zip -P", |s| format!("zip -r -P {} out.zip docs", s.value)),
    ("pass", |s| format!("user: ada\npass: {}\nhost: db\n", s.value)),
    ("mot de passe", |s| format!("Identifiant : ada\nMot de passe : {}\n", s.value)),
    ("contraseña", |s| format!("usuario: ada\ncontraseña: {}\n", s.value)),
    ("contraseña, escaped", |s| {
        format!("{{\"contrase\\u00f1a\":\"{0}\",\"nota\":\"contrase\\u00f1a: {0}\"}}", s.value)
    }),
    ("prose, a few words later", |s| format!("The wifi password for guests is {} until Monday.", s.value)),
    ("PGPASSWORD", |s| format!("PGPASSWORD={} psql -h db -U app shop", s.value)),
    ("netrc", |s| format!("machine api.example.com login ada password {}\n", s.value)),
    ("netrc, lines", |s| format!("machine api.example.com\n  login ada\n  password {}\n", s.value)),
    (".npmrc", |s| format!("registry=https://npm.example.com/\n//npm.example.com/:_authToken={}\n", s.value)),
    (".pypirc", |s| format!("[pypi]\nusername = __token__\npassword = {}\n", s.value)),
    ("ADO connection string", |s| format!("Server=db;Database=shop;User Id=sa;Password={};Encrypt=true", s.value)),
    ("ODBC connection string", |s| format!("Driver={{PostgreSQL}};Server=db;Uid=sa;Pwd={};", s.value)),
    ("libpq connection string", |s| format!("host=db port=5432 user=app password={} dbname=shop", s.value)),
    ("storage connection string", |s| {
        format!("DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={};EndpointSuffix=x", s.value)
    }),
    ("XML element", |s| format!("<server><id>central</id><{0}>{1}</{0}></server>", s.member, s.value)),
    ("XML attribute", |s| format!("<connection user=\"sa\" {}=\"{}\" timeout=\"30\"/>", s.member, s.value)),
    ("XML key and value", |s| format!("<add key=\"{}\" value=\"{}\" />", s.variable, s.value)),
    ("property list", |s| format!("<key>{}</key>\n<string>{}</string>", s.member, s.value)),
    ("name and value in JSON", |s| {
        json!([{ "name": s.variable, "value": s.value }, { "name": "PORT", "value": "80" }]).to_string()
    }),
    ("value and name in JSON", |s| format!("{{\"value\": \"{}\", \"name\": \"{}\"}}", s.value, s.variable)),
    ("key and value in JSON", |s| json!({ "Key": s.variable, "Value": s.value }).to_string()),
    ("pair in JSON", |s| json!({ "headers": [["Accept", "*/*"], ["X-Api-Key", s.value]] }).to_string()),
    ("pair in Python", |s| format!("headers = [('Accept', '*/*'), ('X-Api-Key', '{}')]", s.value)),
    ("Python", |s| format!("import os\n\n{} = \"{}\"\nclient = Client(timeout=30)\n", s.variable, s.value)),
    ("Python argument", |s| format!("client = Client(timeout=30, {}='{}', retries=2)", s.member, s.value)),
    ("Python default", |s| format!("key = os.environ.get('{}', '{}')", s.variable, s.value)),
    ("Python item", |s| format!("os.environ[\"{}\"] = \"{}\"", s.variable, s.value)),
    ("getenv default", |s| format!("$key = getenv(\"{}\") ?: \"{}\";", s.variable, s.value)),
    ("JavaScript", |s| format!("const {} = '{}';\nexport default {{}};", s.member, s.value)),
    ("JavaScript object", |s| format!("const config = {{ host: 'db', {}: '{}', port: 1 }};", s.member, s.value)),
    ("JavaScript default", |s| format!("const key = process.env.{} || \"{}\";", s.variable, s.value)),
    ("TypeScript", |s| format!("  private readonly {}: string = \"{}\";", s.member, s.value)),
    ("Ruby or PHP", |s| format!("'{}' => '{}',\n'port' => 80,", s.member, s.value)),
    ("PHP define", |s| format!("define('{}', '{}');", s.variable, s.value)),
    ("Go", |s| format!("\tcfg := Config{{Host: \"db\", {}: \"{}\"}}", s.member, s.value)),
    ("Rust", |s| format!("const {}: &str = \"{}\";", s.variable, s.value)),
    ("C#", |s| format!("string {} = @\"{}\";", s.member, s.value)),
    ("Terraform", |s| format!("variable \"{}\" {{\n  default = \"{}\"\n}}", s.member, s.value)),
    ("diff", |s| format!("@@ -1,2 +1,2 @@\n-{0}=changeme\n+{0}={1}\n PORT=80\n", s.variable, s.value)),
    ("grep output", |s| format!("config/prod.env:12:{}={}\nREADME.md:3:see .env\n", s.variable, s.value)),
    ("line numbers", |s| format!("     1\tDEBUG=1\n     2\t{}={}\n     3\tPORT=80\n", s.variable, s.value)),
    ("log line", |s| format!("2026-11-29T01:02:03Z INFO connecting user=app {}={} host=db", s.member, s.value)),
    ("prose, is", |s| format!("Hi! The password is '{}', please do not share it.", s.value)),
    ("prose, colon", |s| format!("Login: ada\nPassword: {}\nThanks!", s.value)),
    ("prose, my key", |s| format!("my api key is {} - can you check why it fails?", s.value)),
    ("prose, quoted by backticks", |s| format!("Set the token to `{}` and try again.", s.value)),
    ("Markdown table", |s| format!("| name | value |\n|---|---|\n| {} | {} |\n", s.variable, s.value)),
    ("Markdown bold", |s| format!("- **Password:** {}\n- **User:** ada\n", s.value)),
    ("SQL", |s| format!("CREATE USER app WITH PASSWORD '{}';", s.value)),
    ("SQL identified by", |s| format!("CREATE USER 'app'@'%' IDENTIFIED BY '{}';", s.value)),
    ("HTML entities", |s| format!("<pre>{{&quot;{}&quot;:&quot;{}&quot;}}</pre>", s.member, s.value)),
    ("HTML input", |s| format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", s.member, s.value)),
    ("escaped JSON name", |s| {
        let (first, rest) = s.member.split_at(1);
        format!("{{\"\\u{:04x}{rest}\":\"{}\"}}", u32::from(first.as_bytes()[0]), s.value)
    }),
    ("GraphQL", |s| {
        json!({ "query": format!("mutation {{ login(user: \"ada\", {}: \"{}\") {{ ok }} }}", s.member, s.value) })
            .to_string()
    }),
    ("expect script", |s| format!("Enter password: {}\nWelcome back, ada\n", s.value)),
    ("Jupyter cell", |s| {
        json!({ "cells": [{ "source": ["import os\n", format!("os.environ['{}'] = '{}'\n", s.variable, s.value)] }] })
            .to_string()
    }),
    ("kubectl", |s| format!("kubectl create secret generic db --from-literal={}={}", s.member, s.value)),
    ("helm --set", |s| format!("helm install app ./chart --set auth.{}={} --wait", s.member, s.value)),
    ("git config", |s| {
        format!("[remote \"origin\"]\n  url = https://ada:{}@git.example.com/app.git\n", url(&s.value))
    }),
    ("postgres URL", |s| format!("DATABASE_URL=postgres://app:{}@db:5432/shop", url(&s.value))),
    ("redis URL", |s| format!("connecting to redis://:{}@cache:6379/0", url(&s.value))),
    ("JDBC URL", |s| format!("jdbc:postgresql://db/shop?user=app&password={}&ssl=true", url(&s.value))),
    ("query", |s| format!("GET https://api.example.com/v1/items?api_key={}&page=2", url(&s.value))),
];

/// Forms that are a stream of their own, which needs its line ends.
pub(crate) const STREAMS: [&str; 4] =
    ["event stream in pieces", "array of pieces", "plain event stream in pieces", "lines of one event"];

/// How a conversation carries a text.
fn chat(content: &str) -> String {
    json!({ "model": "m", "messages": [{ "role": "user", "content": content }], "max_tokens": 100 }).to_string()
}

/// What a URL encodes of it.
fn url(value: &str) -> String {
    value.replace('+', "%2B").replace('/', "%2F")
}

fn planted(form: &'static str, make: Form, secret: &Secret) -> Planted {
    let text = make(secret);
    let encoded = url(&secret.value);
    // A text in pieces has neither.
    let traced = if text.contains(&encoded) { encoded } else { secret.value.clone() };
    Planted { form, kind: secret.kind, text, traced }
}

/// Each form with each kind.
pub(super) fn all() -> Vec<Planted> {
    let forms = FORMS.iter().enumerate();
    forms
        .flat_map(|(seed, (form, make))| {
            kinds::all(seed as u64 + 1).into_iter().map(|secret| planted(form, *make, &secret))
        })
        .collect()
}

/// Each form with one secret, another for each seed; the kinds take turns.
pub(crate) fn one_each(seed: u64) -> Vec<Planted> {
    let forms = FORMS.iter().enumerate();
    forms
        .map(|(at, (form, make))| {
            let mut kinds = kinds::all(1_000_003 * (seed + 1) + at as u64);
            planted(form, *make, &kinds.swap_remove((at + seed as usize) % 10))
        })
        .collect()
}
